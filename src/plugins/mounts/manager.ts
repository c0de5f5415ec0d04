import { type Context, forCleanup, namespaceOf } from '#core/context.ts'
import { type Labels, validateLabels } from '#core/labels/labels.ts'
import type { Metadata } from '#core/metadata/metadata.ts'
import { maskLabels } from '#core/metadata/masks.ts'
import type {
  ActivateOptions,
  Activation,
  HeldMounts,
  LocalMountManager,
} from '#core/mount/manager.ts'
import type { Mount } from '#core/mount/mount.ts'
import { KeyedMutex } from '#lib/async/keyed-mutex.ts'
import type { Database } from '#lib/bolt/database.ts'
import { invalidArgument, unimplemented } from '#lib/errors/errors.ts'
import { parseFilters } from '#lib/filters/filters.ts'

import { adaptActivation } from './adapt.ts'
import { MountDirs } from './mount-dirs.ts'
import { MountCollector } from './collector.ts'
import { bindOf, perform, type Performed, type Tools } from './perform.ts'
import { type Plan, planMounts } from './plan.ts'
import {
  completeRecord,
  createRecord,
  deleteRecord,
  findRecord,
  idOf,
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
export class BoltMountManager implements LocalMountManager {
  readonly #db: Database
  readonly #options: ManagerOptions
  /** By namespace and name: what is being activated or deactivated. */
  readonly #busy = new KeyedMutex()
  readonly #dirs: MountDirs
  /** Removes what nobody needs. */
  readonly collector: MountCollector
  readonly #registered = new DisposableStack()

  /** @param db is owned by the manager from then on. */
  constructor(db: Database, options: ManagerOptions) {
    this.#db = db
    this.#options = options
    this.#dirs = new MountDirs(options)
    this.collector = new MountCollector({
      handlers: options.handlers,
      dirs: this.#dirs,
      list: () => db.view((tx) => [...listRecords(tx)]),
      remove: async (ctx, key, stillUnwanted) => {
        await this.#remove(ctx, key, { patient: false, stillUnwanted })
      },
    })
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
    this.collector.touch(key)
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
    await this.#remove(ctx, { ns: namespaceOf(ctx), name }, { patient: true })
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
    this.collector.touch(key)
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

  /** Has activations collected that nothing in `metadata` keeps, for as long as the manager is open. */
  register(metadata: Pick<Metadata, 'registerCollectible'>): void {
    this.#registered.use(metadata.registerCollectible(this.collector))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#registered.dispose()
    await this.#db[Symbol.asyncDispose]()
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

  async #remove(
    ctx: Context,
    key: Key,
    {
      patient,
      stillUnwanted,
    }: { readonly patient: boolean; readonly stillUnwanted?: () => boolean },
  ): Promise<void> {
    using _alone = await this.#busy.lock(idOf(key), ctx)
    if (stillUnwanted?.() === false) return
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
