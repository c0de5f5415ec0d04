import { type Context, withNamespace } from '#core/context.ts'
import type { Publisher } from '#core/events/events.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { LabelOptions, Namespace, NamespaceStore } from '#core/namespaces/namespaces.ts'
import { NamespaceCreateSchema, NamespaceDeleteSchema } from '#gen/events/namespace_pb.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { EventPlugin, MetadataPlugin, NamespacesService } from '#plugins/types.ts'
import { pack } from '#proxy/convert/pack.ts'

/**
 * Namespaces as clients see them: making and deleting one is published in the namespace itself.
 *
 * An update tells of labels that it does not set, too: its caller publishes it.
 */
export class PublishingNamespaceStore implements NamespaceStore {
  readonly #store: NamespaceStore
  readonly #publisher: Publisher

  constructor(store: NamespaceStore, publisher: Publisher) {
    this.#store = store
    this.#publisher = publisher
  }

  async get(ctx: Context, name: string): Promise<Namespace> {
    return await this.#store.get(ctx, name)
  }

  async list(ctx: Context): Promise<readonly Namespace[]> {
    return await this.#store.list(ctx)
  }

  async setLabels(
    ctx: Context,
    name: string,
    labels: Labels,
    options?: LabelOptions,
  ): Promise<void> {
    await this.#store.setLabels(ctx, name, labels, options)
  }

  async create(ctx: Context, namespace: Namespace): Promise<void> {
    await this.#store.create(ctx, namespace)
    const { name, labels } = namespace
    const event = pack(NamespaceCreateSchema, { name, labels })
    this.#publisher.publish(withNamespace(ctx, name), '/namespaces/create', event)
  }

  async delete(ctx: Context, name: string): Promise<void> {
    await this.#store.delete(ctx, name)
    const event = pack(NamespaceDeleteSchema, { name })
    this.#publisher.publish(withNamespace(ctx, name), '/namespaces/delete', event)
  }
}

/** `io.containerd.service.v1.namespaces-service`. */
export const namespacesServicePlugin = definePlugin({
  type: NamespacesService,
  id: 'namespaces-service',
  requires: { events: EventPlugin, metadata: MetadataPlugin },
  init: ({ deps }) => new PublishingNamespaceStore(deps.metadata.namespaces, deps.events),
})
