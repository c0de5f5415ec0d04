import type { Container, ContainerStore, NewContainer } from '#core/containers/containers.ts'
import type { Context } from '#core/context.ts'
import type { Publisher } from '#core/events/events.ts'
import {
  ContainerCreateSchema,
  ContainerDeleteSchema,
  ContainerUpdateSchema,
} from '#gen/events/container_pb.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { ContainersService, EventPlugin, MetadataPlugin } from '#plugins/types.ts'
import { pack } from '#proxy/convert/pack.ts'

import { type ImageParts, withoutImageLabels } from './image-labels.ts'

/** Containers as clients see them: what changes one is also published. */
export class PublishingContainerStore implements ContainerStore {
  readonly #store: ContainerStore
  readonly #publisher: Publisher
  readonly #images: ImageParts

  constructor(store: ContainerStore, publisher: Publisher, images: ImageParts) {
    this.#store = store
    this.#publisher = publisher
    this.#images = images
  }

  async get(ctx: Context, id: string): Promise<Container> {
    return await this.#store.get(ctx, id)
  }

  async list(ctx: Context, filters?: readonly string[]): Promise<readonly Container[]> {
    return await this.#store.list(ctx, filters)
  }

  async create(ctx: Context, container: NewContainer): Promise<Container> {
    const given = await withoutImageLabels(ctx, this.#images, container)
    const created = await this.#store.create(ctx, given)
    const { id, image, runtime } = created
    const event = pack(ContainerCreateSchema, { id, image, runtime: { ...runtime } })
    this.#publisher.publish(ctx, '/containers/create', event)
    return created
  }

  async update(
    ctx: Context,
    container: NewContainer,
    paths: readonly string[],
  ): Promise<Container> {
    const updated = await this.#store.update(ctx, container, paths)
    const { id, image, labels, snapshotKey } = updated
    const event = pack(ContainerUpdateSchema, { id, image, labels, snapshotKey })
    this.#publisher.publish(ctx, '/containers/update', event)
    return updated
  }

  async delete(ctx: Context, id: string): Promise<void> {
    await this.#store.delete(ctx, id)
    this.#publisher.publish(ctx, '/containers/delete', pack(ContainerDeleteSchema, { id }))
  }
}

/** `io.containerd.service.v1.containers-service`. */
export const containersServicePlugin = definePlugin({
  type: ContainersService,
  id: 'containers-service',
  requires: { events: EventPlugin, metadata: MetadataPlugin },
  init: ({ deps }) =>
    new PublishingContainerStore(deps.metadata.containers, deps.events, deps.metadata),
})
