import type { Timestamp } from '#core/events/events.ts'

/** A date as it travels. */
export function toTimestamp(date: Date): Timestamp {
  const ms = date.getTime()
  return { seconds: BigInt(Math.floor(ms / 1000)), nanos: (ms % 1000) * 1_000_000 }
}
