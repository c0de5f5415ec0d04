import type { Context } from '#core/context.ts'
import type { Publisher } from '#core/events/events.ts'
import type { Scheduler } from '#core/gc/gc.ts'
import type { DeleteImageOptions, Image, ImageStore, NewImage } from '#core/images/images.ts'
import type { ImageVerifier } from '#core/verification/verification.ts'
import { ImageCreateSchema, ImageDeleteSchema, ImageUpdateSchema } from '#gen/events/image_pb.ts'
import { permissionDenied } from '#lib/errors/errors.ts'
import { definePlugin, each } from '#plugin/plugin.ts'
import {
  EventPlugin,
  GcPlugin,
  ImagesService,
  ImageVerifierPlugin,
  MetadataPlugin,
} from '#plugins/types.ts'
import { pack } from '#proxy/convert/pack.ts'

/** What the image service stands on. */
export interface ImageServiceParts {
  readonly images: ImageStore
  readonly events: Publisher
  readonly gc: Pick<Scheduler, 'collect'>
  /** Asked before a name is given, whoever gives it. */
  readonly verifiers?: ReadonlyMap<string, ImageVerifier>
}

/** Images as clients see them: what changes one is published, and a delete may wait for the collector. */
export class PublishingImageStore implements ImageStore {
  readonly #parts: ImageServiceParts

  constructor(parts: ImageServiceParts) {
    this.#parts = parts
  }

  async get(ctx: Context, name: string): Promise<Image> {
    return await this.#parts.images.get(ctx, name)
  }

  async list(ctx: Context, filters?: readonly string[]): Promise<readonly Image[]> {
    return await this.#parts.images.list(ctx, filters)
  }

  async create(ctx: Context, image: NewImage): Promise<Image> {
    await this.#admit(ctx, image)
    const created = await this.#parts.images.create(ctx, image)
    const { name, labels } = created
    this.#parts.events.publish(ctx, '/images/create', pack(ImageCreateSchema, { name, labels }))
    return created
  }

  async update(ctx: Context, image: NewImage, paths: readonly string[]): Promise<Image> {
    if (paths.length === 0 || paths.some((path) => path.startsWith('target'))) {
      const before = await this.#parts.images.get(ctx, image.name)
      // The same bytes need not be as good when they are read as something else.
      const isSame =
        before.target.digest === image.target.digest &&
        before.target.mediaType === image.target.mediaType
      if (!isSame) await this.#admit(ctx, image)
    }
    const updated = await this.#parts.images.update(ctx, image, paths)
    const { name, labels } = updated
    this.#parts.events.publish(ctx, '/images/update', pack(ImageUpdateSchema, { name, labels }))
    return updated
  }

  async delete(ctx: Context, name: string, options: DeleteImageOptions = {}): Promise<void> {
    await this.#parts.images.delete(ctx, name, { target: options.target })
    this.#parts.events.publish(ctx, '/images/delete', pack(ImageDeleteSchema, { name }))
    if (options.synchronous) await this.#parts.gc.collect(ctx)
  }

  /** @throws `permission_denied` when a verifier says no; whatever one throws that cannot tell. */
  async #admit(ctx: Context, { name, target }: NewImage): Promise<void> {
    for (const [id, verifier] of this.#parts.verifiers ?? []) {
      const judgement = await verifier.admit?.(ctx, name, target)
      if (judgement?.ok ?? true) continue
      throw permissionDenied(
        `image verifier ${id} blocked ${JSON.stringify(name)}: ${judgement?.reason}`,
      )
    }
  }
}

/** `io.containerd.service.v1.images-service`. */
export const imagesServicePlugin = definePlugin({
  type: ImagesService,
  id: 'images-service',
  requires: {
    metadata: MetadataPlugin,
    gc: GcPlugin,
    events: EventPlugin,
    verifiers: each(ImageVerifierPlugin),
  },
  init: ({ deps }) =>
    new PublishingImageStore({
      images: deps.metadata.images,
      events: deps.events,
      gc: deps.gc,
      verifiers: deps.verifiers,
    }),
})
