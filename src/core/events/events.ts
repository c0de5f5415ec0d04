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

/**
 * A place between two events, in the order of their publication. Its text is for the exchange that
 * gave it, or for a later one of the same daemon.
 */
export type Cursor = string

/** Where following begins: behind a place, with what comes from now on, or with all that is kept. */
export type From = { readonly after: Cursor } | 'now' | 'oldest'

/** What a follower gets, each with the cursor to go on from when it is the last thing it got. */
export type Followed =
  | { readonly kind: 'event'; readonly cursor: Cursor; readonly envelope: Envelope }
  /**
   * Events are missing here, whatever the filters: they are no longer kept. `lost` says how many, and
   * is absent when the cursor is of a time that this exchange knows nothing of.
   */
  | { readonly kind: 'gap'; readonly cursor: Cursor; readonly lost?: number | undefined }
  /** Nothing has happened that the follower wants to know. The first thing is this, or a gap. */
  | { readonly kind: 'place'; readonly cursor: Cursor }

/** Says that something has happened. Never waits for subscribers, nor for a disk. */
export interface Publisher {
  /** @throws `invalid_argument` for a bad topic or namespace. */
  publish(ctx: Context, topic: string, event: Any): void
}

/**
 * Hands every event to every subscriber, in order of publication.
 *
 * The latest events are kept, a number that is bounded whatever subscribers do, and each of them
 * reads at its own pace. An event is given to nobody before a later exchange could give it again, so
 * that whoever goes on from a cursor misses nothing and gets nothing twice, also over a kill -9 of the
 * daemon. (A power cut may take the last of them; that is a gap then.)
 */
export interface Exchange extends Publisher {
  /** Publishes an event that another process made, as it is. @throws `invalid_argument`. */
  forward(ctx: Context, envelope: Envelope): void
  /**
   * Events from now on that match any of `filters`, of all namespaces; all when there is none.
   *
   * The subscription begins with the call, not with the first `next`. It ends with `ctx.signal`.
   * @throws `invalid_argument` for a bad filter; the iterator throws `resource_exhausted` when the
   * subscriber was so slow that it misses events: the message says how many, and the cursor of the
   * next one.
   */
  subscribe(ctx: Context, filters?: readonly string[]): AsyncIterable<Envelope>
  /**
   * Like `subscribe`, from a place on, with cursors, and a gap is told instead of thrown.
   *
   * @throws `invalid_argument` for a bad filter, and for a text that is no cursor.
   */
  follow(ctx: Context, from: From, filters?: readonly string[]): AsyncIterable<Followed>
}
