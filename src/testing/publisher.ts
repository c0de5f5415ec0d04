import type { Any } from '#core/any/any.ts'
import type { Publisher } from '#core/events/events.ts'

/** An event that was published, and in which namespace. */
export interface Recorded {
  readonly namespace: string | undefined
  readonly topic: string
  readonly event: Any
}

/** A publisher that keeps what it is told. */
export const recordingPublisher = (events: Recorded[]): Publisher => ({
  publish: ({ namespace }, topic, event) => void events.push({ namespace, topic, event }),
})
