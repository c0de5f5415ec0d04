import type { Any } from '#core/any/any.ts'
import type { Context } from '#core/context.ts'

/** An event as subscribers get it. */
export interface Envelope {
  readonly timestamp: Timestamp
  readonly namespace: string
  /** `/component/what`. */
  readonly topic: string
  readonly event: Any
}

/** Nanosecond time, as it travels. */
export interface Timestamp {
  readonly seconds: bigint
  readonly nanos: number
}

/** Says that something has happened. Never waits for subscribers. */
export interface Publisher {
  /** @throws `invalid_argument` for a bad topic or namespace. */
  publish(ctx: Context, topic: string, event: Any): void
}

/** Hands every event to every subscriber, in order of publication. */
export interface Exchange extends Publisher {
  /** Publishes an event that another process made, as it is. @throws `invalid_argument`. */
  forward(ctx: Context, envelope: Envelope): void
  /**
   * Events from now on that match any of `filters`, of all namespaces; all when there is none.
   *
   * The subscription begins with the call, not with the first `next`. It ends with `ctx.signal`.
   * @throws `invalid_argument` for a bad filter; the iterator throws `resource_exhausted` when the
   * subscriber is too slow to keep up.
   */
  subscribe(ctx: Context, filters?: readonly string[]): AsyncIterable<Envelope>
}
