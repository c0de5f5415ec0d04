import type { Info, Reader, Status, Store, Writer, WriterOptions } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'
import type { Publisher } from '#core/events/events.ts'
import { ContentDeleteSchema } from '#gen/events/content_pb.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { ContentService, EventPlugin, MetadataPlugin } from '#plugins/types.ts'
import { pack } from '#proxy/convert/pack.ts'

/** Content as clients see it: a delete is published. Disposal is left to the store's owner. */
export class PublishingContentStore implements Store {
  readonly #store: Store
  readonly #publisher: Publisher

  constructor(store: Store, publisher: Publisher) {
    this.#store = store
    this.#publisher = publisher
  }

  async info(ctx: Context, digest: string): Promise<Info> {
    return await this.#store.info(ctx, digest)
  }

  async update(
    ctx: Context,
    info: Pick<Info, 'digest' | 'labels'>,
    paths: readonly string[],
  ): Promise<Info> {
    return await this.#store.update(ctx, info, paths)
  }

  list(ctx: Context, filters?: readonly string[]): AsyncIterable<Info> {
    return this.#store.list(ctx, filters)
  }

  async delete(ctx: Context, digest: string): Promise<void> {
    await this.#store.delete(ctx, digest)
    this.#publisher.publish(ctx, '/content/delete', pack(ContentDeleteSchema, { digest }))
  }

  async reader(ctx: Context, digest: string): Promise<Reader> {
    return await this.#store.reader(ctx, digest)
  }

  async writer(ctx: Context, options: WriterOptions): Promise<Writer> {
    return await this.#store.writer(ctx, options)
  }

  async status(ctx: Context, ref: string): Promise<Status> {
    return await this.#store.status(ctx, ref)
  }

  async listStatuses(ctx: Context, filters?: readonly string[]): Promise<readonly Status[]> {
    return await this.#store.listStatuses(ctx, filters)
  }

  async abort(ctx: Context, ref: string): Promise<void> {
    await this.#store.abort(ctx, ref)
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** `io.containerd.service.v1.content-service`. */
export const contentServicePlugin = definePlugin({
  type: ContentService,
  id: 'content-service',
  requires: { metadata: MetadataPlugin, events: EventPlugin },
  init: ({ deps }) => new PublishingContentStore(deps.metadata.content, deps.events),
})
