import type { Any } from '#core/any/any.ts'
import type { Context } from '#core/context.ts'
import type { Publisher } from '#core/events/events.ts'

/** An event before it is published. */
export interface Announcement {
  readonly topic: string
  readonly event: Any
}

/**
 * Builds the events that metadata itself publishes. The services publish the others: those of
 * namespaces and containers, of images that a client creates, updates or deletes, and of blobs that
 * one deletes.
 */
export interface EventEncoder {
  /** `mediaType` is what the writer said it would be; empty when it did not. */
  contentCreated(content: {
    readonly digest: string
    readonly size: number
    readonly mediaType: string
  }): Announcement
  imageDeleted(image: { readonly name: string }): Announcement
  snapshotPrepared(snapshot: {
    readonly key: string
    readonly parent: string
    readonly snapshotter: string
  }): Announcement
  snapshotCommitted(snapshot: {
    readonly key: string
    readonly name: string
    readonly snapshotter: string
  }): Announcement
  snapshotRemoved(snapshot: { readonly key: string; readonly snapshotter: string }): Announcement
}

/** Publishes what `build` makes with the encoder it holds. */
export class Announcer {
  readonly #publisher: Publisher
  readonly #encoder: EventEncoder

  constructor(publisher: Publisher, encoder: EventEncoder) {
    this.#publisher = publisher
    this.#encoder = encoder
  }

  announce(ctx: Context, build: (encoder: EventEncoder) => Announcement): void {
    const { topic, event } = build(this.#encoder)
    this.#publisher.publish(ctx, topic, event)
  }
}
