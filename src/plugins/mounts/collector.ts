import type { Context } from '#core/context.ts'
import type { CollectibleName, CollectibleResource, ResourceCollection } from '#core/gc/gc.ts'
import { describe, hasCode } from '#lib/errors/errors.ts'

import { brokenRecords } from './broken.ts'
import type { MountDirs } from './mount-dirs.ts'
import type { Handlers } from './plan.ts'
import { idOf, type Key, type StoredActivation } from './records.ts'

/** What a collector works on. */
export interface CollectorOptions {
  readonly handlers: Handlers
  readonly dirs: MountDirs
  /** Every activation there is. */
  readonly list: () => readonly StoredActivation[]
  /**
   * Undoes an activation without waiting for mounts in use, if `stillUnwanted` says so once nobody else
   * is at it. @throws `not_found`; `failed_precondition` for one in use.
   */
  readonly remove: (ctx: Context, key: Key, stillUnwanted: () => boolean) => Promise<void>
}

/** Removes activations that nobody needs, and mounts that have none. */
export class MountCollector implements CollectibleResource {
  readonly type = 'mount'
  readonly #options: CollectorOptions
  /** For each collection that runs: what was made or relabelled meanwhile. */
  readonly #running = new Set<Set<string>>()

  constructor(options: CollectorOptions) {
    this.#options = options
  }

  /** Tells collections that run that they have not looked at it as it is now. */
  touch(key: Key): void {
    for (const touched of this.#running) touched.add(idOf(key))
  }

  async startCollection(ctx: Context): Promise<ResourceCollection> {
    const touched = new Set<string>()
    this.#running.add(touched)
    const all = await Promise.try(() => this.#options.list())
    return {
      objects: all.map(({ ns, name, lease, labels }) => ({
        namespace: ns,
        key: name,
        lease: lease || undefined,
        labels,
      })),
      remove: async (garbage) => await this.#removeAll(ctx, garbage, touched),
      [Symbol.asyncDispose]: async () => {
        await Promise.resolve(this.#running.delete(touched))
      },
    }
  }

  /**
   * Removes what a daemon that was killed, or a reboot, has left: activations that are not whole or
   * whose mounts are gone, and mounts of no activation. What cannot be removed now is logged and left
   * to the next collection.
   */
  async recover(ctx: Context): Promise<void> {
    const broken = brokenRecords(this.#options.list(), this.#options.handlers)
    for (const record of broken) await this.#discard(ctx, record, () => true)
    await this.#sweep(ctx)
  }

  async #removeAll(
    ctx: Context,
    garbage: readonly CollectibleName[],
    touched: ReadonlySet<string>,
  ): Promise<void> {
    for (const { namespace, key } of garbage) {
      const found = { ns: namespace, name: key }
      await this.#discard(ctx, found, () => !touched.has(idOf(found)))
    }
    await this.#sweep(ctx)
  }

  async #discard(ctx: Context, key: Key, stillUnwanted: () => boolean): Promise<void> {
    try {
      await this.#options.remove(ctx, key, stillUnwanted)
    } catch (err) {
      if (hasCode(err, 'not_found')) return
      ctx.signal.throwIfAborted()
      const { ns: namespace, name } = key
      ctx.log.warn('cannot clean up mounts', { namespace, name, error: describe(err) })
    }
  }

  /** Removes directories that have no record. */
  async #sweep(ctx: Context): Promise<void> {
    const { dirs, list } = this.#options
    // Listed first: whatever is listed and gets a record meanwhile has it by the time records are looked at.
    const names = await dirs.list()
    const used = new Set(list().map(({ id }) => id))
    const unused = names.filter((name) => !used.has(name))
    await dirs.discard(ctx, unused)
  }
}
