import type { Context } from '#core/context.ts'
import type { Info, SnapshotOptions, Usage } from '#core/snapshots/snapshotter.ts'
import type { Database } from '#lib/bolt/database.ts'

import {
  commitActive,
  createSnapshot,
  type CreateOptions,
  getInfo,
  getSnapshot,
  hasSnapshot,
  listSnapshots,
  removeSnapshot,
  type Snapshot,
  type StoredSnapshot,
  updateInfo,
  usedIds,
} from './storage.ts'

/** A removal, while its transaction is open. */
export interface Removal {
  readonly removed: StoredSnapshot
  /** Ids of all snapshots that stay. */
  used(): ReadonlySet<string>
}

/**
 * The records of one snapshotter. Each change is durable when its promise resolves.
 *
 * The callbacks run inside the transaction, after what was asked for; they must be synchronous. What
 * they do to files happens before the record is durable: when the change fails after all, nothing
 * refers to those files and they are for `cleanup`.
 */
export class MetaStore implements AsyncDisposable {
  readonly #db: Database

  /** @param db is owned by the store from then on. */
  constructor(db: Database) {
    this.#db = db
  }

  info(key: string): StoredSnapshot {
    return this.#db.view((tx) => getInfo(tx, key))
  }

  /** Like `info`, undefined when there is none. */
  find(key: string): StoredSnapshot | undefined {
    return this.#db.view((tx) => (hasSnapshot(tx, key) ? getInfo(tx, key) : undefined))
  }

  snapshot(key: string): Snapshot {
    return this.#db.view((tx) => getSnapshot(tx, key))
  }

  list(filters?: readonly string[]): readonly StoredSnapshot[] {
    return this.#db.view((tx) => listSnapshots(tx, filters))
  }

  async create(
    ctx: Context,
    options: CreateOptions,
    created: (snapshot: Snapshot) => void,
  ): Promise<Snapshot> {
    const create = (tx: Parameters<typeof createSnapshot>[0]): Snapshot => {
      const snapshot = createSnapshot(tx, options)
      created(snapshot)
      return snapshot
    }
    return await inWords('failed to create snapshot', this.#db.update(create, ctx))
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

  async remove<T>(ctx: Context, key: string, removed: (removal: Removal) => T): Promise<T> {
    const removing = this.#db.update(
      (tx) => removed({ removed: removeSnapshot(tx, key), used: () => usedIds(tx) }),
      ctx,
    )
    return await inWords(`failed to remove snapshot ${key}`, removing)
  }

  /** Calls `fn` with the ids of all snapshots, between other changes. */
  async withUsedIds<T>(ctx: Context, fn: (used: ReadonlySet<string>) => T): Promise<T> {
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
    throw new Error(words, { cause: err })
  }
}
