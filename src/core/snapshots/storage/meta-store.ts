import type { Context } from '#core/context.ts'
import type { Info, SnapshotOptions, Usage } from '#core/snapshots/snapshotter.ts'
import type { Database } from '#lib/bolt/database.ts'
import { aborted } from '#lib/errors/errors.ts'
import { fullDisk } from '#lib/fs/full-disk.ts'

import {
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
   * An id for a new snapshot, whose directory can be made before its record is: file work has no
   * place in a transaction, which everybody waits for. One that is not used is lost.
   */
  reserveId(): bigint {
    return ++this.#lastId
  }

  info(key: string): StoredSnapshot {
    return this.#db.view((tx) => getInfo(tx, key))
  }

  /** The id of the committed snapshot `name`; undefined when there is none. */
  committedId(name: string): string | undefined {
    return this.#db.view((tx) => {
      const found = hasSnapshot(tx, name) ? getInfo(tx, name) : undefined
      return found?.info.kind === 'committed' ? found.id : undefined
    })
  }

  snapshot(key: string): Snapshot {
    return this.#db.view((tx) => getSnapshot(tx, key))
  }

  list(filters?: readonly string[]): readonly StoredSnapshot[] {
    return this.#db.view((tx) => listSnapshots(tx, filters))
  }

  /** @throws as `createSnapshot`; `aborted` when a `parentId` is given, or none, and the parent has another. */
  async create(
    ctx: Context,
    options: CreateOptions & { readonly parentId?: string | undefined },
  ): Promise<Snapshot> {
    const { id = this.reserveId(), parentId, parent } = options
    const creating = this.#db.update((tx) => {
      const snapshot = createSnapshot(tx, { ...options, id })
      if (Object.hasOwn(options, 'parentId') && snapshot.parentIds[0] !== parentId) {
        throw aborted(`parent ${JSON.stringify(parent)} has changed meanwhile`)
      }
      return snapshot
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
    throw because(words, fullDisk(err, 'metadata.db'))
  }
}

const because = (words: string, cause: unknown): Error => new Error(words, { cause })
