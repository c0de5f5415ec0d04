import type { Context } from '#core/context.ts'
import type { CollectibleResource, ResourceCollection } from '#core/gc/gc.ts'
import { describe } from '#lib/errors/errors.ts'

import type { Collectibles } from './gc-mark.ts'
import type { Node } from './gc-node.ts'

/** The part that collectible resources have in one collection. */
export class ResourceCollections implements AsyncDisposable {
  /** What labels can name: also of a resource that could not start. */
  readonly types: readonly string[]
  readonly #started: ReadonlyMap<string, ResourceCollection>
  readonly #scope: AsyncDisposableStack

  private constructor(
    types: readonly string[],
    started: ReadonlyMap<string, ResourceCollection>,
    scope: AsyncDisposableStack,
  ) {
    this.types = types
    this.#started = started
    this.#scope = scope
  }

  /** Begins a collection of each; one that fails is left for the next time. */
  static async start(
    ctx: Context,
    resources: Iterable<CollectibleResource>,
  ): Promise<ResourceCollections> {
    const started = new Map<string, ResourceCollection>()
    await using scope = new AsyncDisposableStack()
    const all = [...resources]
    for (const resource of all) {
      const { type } = resource
      try {
        started.set(type, scope.use(await resource.startCollection(ctx)))
      } catch (err) {
        ctx.log.warn('collection of a resource could not start', { type, error: describe(err) })
      }
    }
    const types = all.map(({ type }) => type)
    return new ResourceCollections(types, started, scope.move())
  }

  get collectibles(): Collectibles[] {
    return Array.from(this.#started, ([type, { objects }]) => ({ type, objects }))
  }

  /** Removes `garbage` from the resources; one that fails is logged. */
  async remove(ctx: Context, garbage: readonly Node[]): Promise<void> {
    const byType = Map.groupBy(garbage, ({ type }) => type)
    const removals = Array.from(this.#started, async ([type, collection]) => {
      const nodes = byType.get(type) ?? []
      try {
        await collection.remove(nodes.map(({ ns, key }) => ({ namespace: ns, key })))
      } catch (err) {
        ctx.log.warn('garbage could not be removed', { type, error: describe(err) })
      }
    })
    await Promise.all(removals)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scope.disposeAsync()
  }
}
