import type { SpanContext, TimeInput } from '@opentelemetry/api'

/** A span that has ended, as it is exported. Times in ns since the epoch. */
export interface SpanData {
  readonly context: SpanContext
  readonly parent: SpanContext | undefined
  readonly name: string
  /** As OTLP numbers them: 1 internal, 2 server, 3 client, 4 producer, 5 consumer. */
  readonly kind: number
  readonly start: bigint
  readonly end: bigint
  readonly attributes: ReadonlyMap<string, unknown>
  readonly events: readonly SpanEvent[]
  readonly status: { readonly code: number; readonly message?: string | undefined }
  readonly scope: string
}

export interface SpanEvent {
  readonly name: string
  readonly time: bigint
  readonly attributes: ReadonlyMap<string, unknown>
}

const msToNs = (ms: number): bigint => BigInt(Math.round(ms * 1e3)) * 1_000n

/** Where `performance.now` begins, by the clock of the machine. */
let origin = performance.timeOrigin
/** How far the two may be apart, in ms: the clock may be set while this runs for weeks. */
const tolerance = 5

/** Now, in ns since the epoch; steady within this process as long as the clock is. */
export function now(): bigint {
  const ms = origin + performance.now()
  const off = Date.now() - ms
  if (Math.abs(off) <= tolerance) return msToNs(ms)
  origin += off
  return msToNs(ms + off)
}

/** A time in any form of the API: a date, `[s, ns]`, ms since the epoch or since the process began. */
export function toNs(time: TimeInput | undefined): bigint {
  if (time === undefined) return now()
  if (time instanceof Date) return msToNs(time.getTime())
  if (typeof time !== 'number') return BigInt(time[0]) * 1_000_000_000n + BigInt(time[1])
  return msToNs(time < performance.timeOrigin ? performance.timeOrigin + time : time)
}
