import type { Context } from '#core/context.ts'
import type { Info, Kind, SnapshotOptions, Usage } from '#core/snapshots/snapshotter.ts'
import type { Database } from '#lib/bolt/database.ts'
import { aborted } from '#lib/errors/errors.ts'
import { fullDisk } from '#lib/fs/full-disk.ts'

import {
  checkNew,
  checkParent,
  commitActive,
  createSnapshot,
  type CreateOptions,
  getInfo,
  getSnapshot,
  hasSnapshot,
  lastId,
  listSnapshots,
  removeSnapshot,
  type Snapshot,
  type StoredSnapshot,
  updateInfo,
  usedIds,
} from './storage.ts'

/** A place for a new snapshot. */
export interface Reservation {
  readonly id: bigint
  /** Of the snapshot below; undefined for none. */
  readonly parentId: string | undefined
}

/** The records of one snapshotter. Each change is durable when its promise resolves. */
export class MetaStore implements AsyncDisposable {
  readonly #db: Database
  #lastId: bigint

  /** @param db is owned by the store from then on. */
  constructor(db: Database) {
    this.#db = db
    this.#lastId = db.view(lastId)
  }

  /**
   * What a new snapshot will be made from, so that its directory can be made before its record is:
   * file work has no place in a transaction, which everybody waits for. The id is lost when it is
   * not used.
   *
   * @throws as `checkNew`.
   */
  reserve(options: Pick<CreateOptions, 'key' | 'parent'>): Reservation {
    try {
      const [parentId] = this.#db.view((tx) => checkNew(tx, options))
      return { id: ++this.#lastId, parentId }
    } catch (err) {
      throw because('failed to create snapshot', err)
    }
  }

  info(key: string): StoredSnapshot {
    return this.#db.view((tx) => getInfo(tx, key))
  }

  /** Whether there is a snapshot of any kind with that key or name. */
  has(key: string): boolean {
    return this.#db.view((tx) => hasSnapshot(tx, key))
  }

  /** Ids of the committed snapshot `name` and of those below it, nearest first. @throws as `checkNew`. */
  chain(name: string): readonly string[] {
    return this.#db.view((tx) => checkParent(tx, name))
  }

  snapshot(key: string): Snapshot {
    return this.#db.view((tx) => getSnapshot(tx, key))
  }

  /** Those of one moment, however long it takes to go through them. */
  *list(filters?: readonly string[]): Generator<StoredSnapshot> {
    using state = this.#db.pin()
    yield* listSnapshots(state.root, filters)
  }

  /** @throws as `checkNew`; `aborted` when the parent is no longer the one that was reserved with. */
  async create(
    ctx: Context,
    options: Omit<CreateOptions, 'id'>,
    { id, parentId }: Reservation = this.reserve(options),
  ): Promise<Snapshot> {
    const creating = this.#db.update((tx) => {
      const snapshot = createSnapshot(tx, { ...options, id })
      if (snapshot.parentIds[0] === parentId) return snapshot
      throw aborted(`parent ${JSON.stringify(options.parent)} has changed meanwhile`)
    }, ctx)
    return await inWords('failed to create snapshot', creating)
  }

  async update(
    ctx: Context,
    info: Pick<Info, 'name' | 'labels'>,
    paths: readonly string[],
  ): Promise<StoredSnapshot> {
    return await this.#db.update((tx) => updateInfo(tx, info, paths), ctx)
  }

  /**
   * Commits `key` as `name`. `measure` finds out what it uses; it is asked again when the key has
   * meanwhile become another snapshot's.
   */
  async commit(
    ctx: Context,
    { name, key }: { readonly name: string; readonly key: string },
    options: SnapshotOptions,
    measure: (id: string) => Promise<Usage>,
  ): Promise<void> {
    for (;;) {
      const { id } = this.info(key)
      const usage = await measure(id)
      const committed = this.#db.update((tx) => {
        if (getInfo(tx, key).id !== id) return false
        commitActive(tx, { name, key, usage }, options)
        return true
      }, ctx)
      if (await inWords(`failed to commit snapshot ${key}`, committed)) return
    }
  }

  /** @returns what was removed. */
  async remove(ctx: Context, key: string): Promise<StoredSnapshot> {
    const removing = this.#db.update((tx) => removeSnapshot(tx, key), ctx)
    return await inWords(`failed to remove snapshot ${key}`, removing)
  }

  /** Calls `fn` with the ids of all snapshots and their kinds, between other changes. */
  async withUsedIds<T>(ctx: Context, fn: (used: ReadonlyMap<string, Kind>) => T): Promise<T> {
    return await this.#db.update((tx) => fn(usedIds(tx)), ctx)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#db[Symbol.asyncDispose]()
  }
}

/** `promise`; when it fails, `words` come before the message. */
async function inWords<T>(words: string, promise: Promise<T>): Promise<T> {
  try {
    return await promise
  } catch (err) {
    if (err instanceof Error && err.name === 'AbortError') throw err
    throw because(words, fullDisk(err, 'metadata.db'))
  }
}

const because = (words: string, cause: unknown): Error => new Error(words, { cause })
