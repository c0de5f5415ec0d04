import { type Context, forCleanup, namespaceOf } from '#core/context.ts'
import type { CollectibleResource, ResourceCollection } from '#core/gc/gc.ts'
import { type Labels, validateLabels } from '#core/labels/labels.ts'
import type { Metadata } from '#core/metadata/metadata.ts'
import { maskLabels } from '#core/metadata/masks.ts'
import type { ActivateOptions, Activation, HeldMounts, MountManager } from '#core/mount/manager.ts'
import type { Mount } from '#core/mount/mount.ts'
import { KeyedMutex } from '#lib/async/keyed-mutex.ts'
import type { Database } from '#lib/bolt/database.ts'
import { describe, hasCode, invalidArgument, unimplemented } from '#lib/errors/errors.ts'
import { parseFilters } from '#lib/filters/filters.ts'

import { adaptActivation } from './adapt.ts'
import { MountDirs } from './mount-dirs.ts'
import { brokenRecords } from './broken.ts'
import { bindOf, perform, type Performed, type Tools } from './perform.ts'
import { type Plan, planMounts } from './plan.ts'
import {
  completeRecord,
  createRecord,
  deleteRecord,
  findRecord,
  type Key,
  listRecords,
  readRecord,
  type StoredActivation,
  updateLabels,
} from './records.ts'

/** As many as have a number of one byte in the database. */
const maxMounts = 256

/** What a manager works with. */
export interface ManagerOptions extends Tools {
  /** Where the mounts are, one directory for each activation. It exists. */
  readonly targets: string
}

/** Activations in a database, and mounts in directories that a killed daemon's successor can clear. */
export class BoltMountManager implements MountManager, CollectibleResource {
  readonly type = 'mount'
  readonly #db: Database
  readonly #options: ManagerOptions
  /** By namespace and name: what is being activated or deactivated. */
  readonly #busy = new KeyedMutex()
  readonly #dirs: MountDirs
  /** For each collection that runs: what was made or relabelled meanwhile. */
  readonly #collections = new Set<Set<string>>()
  readonly #registered = new DisposableStack()

  /** @param db is owned by the manager from then on. */
  constructor(db: Database, options: ManagerOptions) {
    this.#db = db
    this.#options = options
    this.#dirs = new MountDirs(options)
  }

  handles(mounts: readonly Mount[], options: ActivateOptions = {}): boolean {
    return planMounts(mounts, this.#options.handlers, options) !== undefined
  }

  async activate(
    ctx: Context,
    name: string,
    mounts: readonly Mount[],
    options: ActivateOptions = {},
  ): Promise<Activation> {
    const key = { ns: namespaceOf(ctx), name }
    const { labels = {} } = options
    validateLabels(labels)
    if (name === '') throw invalidArgument('an activation needs a name')
    const plan = this.#plan(mounts, options)
    if (!plan) throw unimplemented('none of the mounts needs the mount manager')
    using _alone = await this.#busy.lock(idOf(key), ctx)
    this.#touch(key)
    await this.#removeHalf(ctx, key)
    const id = await this.#db.update(
      (tx) => createRecord(tx, key, { labels, lease: ctx.lease }),
      ctx,
    )
    try {
      const performed = await perform(ctx, plan, this.#dirs.of(id), this.#options)
      return await this.#complete(ctx, key, { id, performed })
    } catch (err) {
      await this.#db.update((tx) => deleteRecord(tx, key))
      throw err
    }
  }

  async deactivate(ctx: Context, name: string): Promise<void> {
    await this.#remove(ctx, { ns: namespaceOf(ctx), name }, true)
  }

  async info(ctx: Context, name: string): Promise<Activation> {
    const ns = namespaceOf(ctx)
    ctx.signal.throwIfAborted()
    return await Promise.try(() => shown(this.#db.view((tx) => readRecord(tx, { ns, name }))))
  }

  async update(
    ctx: Context,
    { name, labels }: Pick<Activation, 'name' | 'labels'>,
    paths: readonly string[],
  ): Promise<Activation> {
    const key = { ns: namespaceOf(ctx), name }
    this.#touch(key)
    const what = `mount ${JSON.stringify(name)}`
    const change = (current: Labels): Labels => {
      const changed = maskLabels(paths, current, labels, what)
      validateLabels(changed)
      return changed
    }
    return shown(await this.#db.update((tx) => updateLabels(tx, key, change), ctx))
  }

  async list(ctx: Context, filters?: readonly string[]): Promise<readonly Activation[]> {
    const ns = namespaceOf(ctx)
    ctx.signal.throwIfAborted()
    const matches = parseFilters(filters)
    const all = await Promise.try(() => this.#db.view((tx) => [...listRecords(tx, ns)]))
    return all.map(shown).filter((each) => matches(adaptActivation(each)))
  }

  async hold(ctx: Context, mounts: readonly Mount[]): Promise<HeldMounts> {
    const plan = this.#plan(mounts, {})
    if (!plan) return { system: mounts, async [Symbol.asyncDispose]() {} }
    const dir = this.#dirs.hold(ctx)
    await using undo = new AsyncDisposableStack()
    undo.use(dir)
    const { active, system } = await perform(ctx, plan, dir.path, this.#options)
    const held = undo.move()
    return {
      system: system.length > 0 ? system : bindOf(active),
      [Symbol.asyncDispose]: async () => await held.disposeAsync(),
    }
  }

  /**
   * Removes what a daemon that was killed, or a reboot, has left: activations that are not whole or
   * whose mounts are gone, and mounts of no activation. What cannot be removed now is logged and left to
   * the next collection.
   */
  async recover(ctx: Context): Promise<void> {
    const { handlers } = this.#options
    const broken = brokenRecords(
      this.#db.view((tx) => [...listRecords(tx)]),
      handlers,
    )
    for (const record of broken) {
      await this.#discard(ctx, record)
    }
    await this.#sweep(ctx)
  }

  /** Has activations collected that nothing in `metadata` keeps, for as long as the manager is open. */
  register(metadata: Pick<Metadata, 'registerCollectible'>): void {
    this.#registered.use(metadata.registerCollectible(this))
  }

  async startCollection(ctx: Context): Promise<ResourceCollection> {
    const touched = new Set<string>()
    this.#collections.add(touched)
    const all = await Promise.try(() => this.#db.view((tx) => [...listRecords(tx)]))
    return {
      objects: all.map(({ ns, name, lease, labels }) => ({
        namespace: ns,
        key: name,
        lease: lease || undefined,
        labels,
      })),
      remove: async (garbage) => {
        for (const { namespace, key } of garbage) {
          const found = { ns: namespace, name: key }
          if (!touched.has(idOf(found))) await this.#discard(ctx, found)
        }
        await this.#sweep(ctx)
      },
      [Symbol.asyncDispose]: async () => {
        await Promise.resolve(this.#collections.delete(touched))
      },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#registered.dispose()
    await this.#db[Symbol.asyncDispose]()
  }

  /** Collections that run have looked at it before, or not at all. */
  #touch(key: Key): void {
    for (const touched of this.#collections) touched.add(idOf(key))
  }

  /** @throws `invalid_argument` for more mounts than can be written down. */
  #plan(mounts: readonly Mount[], options: ActivateOptions): Plan | undefined {
    if (mounts.length > maxMounts - 1) {
      throw invalidArgument(`too many mounts (${mounts.length}): maximum ${maxMounts - 1}`)
    }
    return planMounts(mounts, this.#options.handlers, options)
  }

  async #complete(
    ctx: Context,
    key: Key,
    { id, performed }: { readonly id: string; readonly performed: Performed },
  ): Promise<Activation> {
    try {
      const { labels } = await this.#db.update((tx) => completeRecord(tx, key, performed))
      return { name: key.name, labels, ...performed }
    } catch (err) {
      await this.#dirs.clear(forCleanup(ctx), id, { patient: true })
      throw err
    }
  }

  /** Nobody else is at it: an activation that is not whole is one that a daemon was killed in. */
  async #removeHalf(ctx: Context, key: Key): Promise<void> {
    const found = this.#db.view((tx) => findRecord(tx, key))
    if (!found || found.whole) return
    await this.#dirs.clear(ctx, found.id, { patient: true })
    await this.#db.update((tx) => deleteRecord(tx, key), ctx)
  }

  /** Removes an activation that nobody needs; one that cannot be is left. */
  async #discard(ctx: Context, key: Key): Promise<void> {
    try {
      await this.#remove(ctx, key, false)
    } catch (err) {
      if (hasCode(err, 'not_found')) return
      ctx.signal.throwIfAborted()
      const { ns: namespace, name } = key
      ctx.log.warn('cannot clean up mounts', { namespace, name, error: describe(err) })
    }
  }

  /** Removes directories that have no record. */
  async #sweep(ctx: Context): Promise<void> {
    // Listed first: whatever is listed and gets a record meanwhile has it by the time records are looked at.
    const names = await this.#dirs.list()
    const used = this.#db.view((tx) => new Set(Array.from(listRecords(tx), ({ id }) => id)))
    await this.#dirs.discard(
      ctx,
      names.filter((name) => !used.has(name)),
    )
  }

  async #remove(ctx: Context, key: Key, patient: boolean): Promise<void> {
    using _alone = await this.#busy.lock(idOf(key), ctx)
    const { id } = this.#db.view((tx) => readRecord(tx, key))
    // The record goes last: it keeps a file system that is still in use from being mounted again.
    await this.#dirs.clear(ctx, id, { patient })
    await this.#db.update((tx) => deleteRecord(tx, key))
  }
}

const shown = ({ name, active, system, labels }: StoredActivation): Activation => ({
  name,
  active,
  system,
  labels,
})

const idOf = ({ ns, name }: Key): string => `${ns}/${name}`
