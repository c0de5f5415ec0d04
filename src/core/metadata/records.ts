import type { Context } from '#core/context.ts'
import type { Bucket, Database, ReadBucket } from '#lib/bolt/database.ts'

/** What happened to the database: `deleted` says that something may have become garbage. */
export interface Mutation {
  readonly deleted: boolean
}

type Listener = (mutation: Mutation) => void

/**
 * The database with what the collector must know of its changes: whether something was deleted
 * since the last collection, and which backends may hold what no record names.
 */
export class Records {
  readonly #database: Database
  readonly #listeners = new Set<Listener>()
  #deleted = false
  /** Where writers wait while the collector looks. */
  #gate: Promise<void> | undefined
  /** Snapshotters that may hold garbage. */
  readonly dirtySnapshotters = new Set<string>()
  /** Whether the content store may hold garbage. */
  dirtyContent = false

  constructor(database: Database) {
    this.#database = database
  }

  /** Changes with every commit of the database. */
  get revision(): number {
    return this.#database.revision
  }

  /** Runs `fn` on the last durable state. */
  view<T>(fn: (tx: ReadBucket) => T): T {
    return this.#database.view(fn)
  }

  /** Runs `fn` in a write, and resolves when that is durable. */
  async update<T>(ctx: Pick<Context, 'signal'>, fn: (tx: Bucket) => T): Promise<T> {
    ctx.signal.throwIfAborted()
    while (this.#gate) await this.#gate
    const result = await this.#database.update(fn, { signal: ctx.signal })
    this.#notify()
    return result
  }

  /**
   * Like `update`, for the second half of something that a backend has already done: the caller's
   * cancellation comes too late.
   */
  async settle<T>(fn: (tx: Bucket) => T): Promise<T> {
    while (this.#gate) await this.#gate
    const result = await this.#database.update(fn)
    this.#notify()
    return result
  }

  /**
   * Lets `look` find out what to remove while nobody writes, though all may read, and then runs
   * `remove` in one write after the other until it has nothing left to do and answers false.
   */
  async sweep<T>(
    look: (tx: ReadBucket) => Promise<T>,
    remove: (tx: Bucket, found: T) => boolean,
  ): Promise<T> {
    const gate = Promise.withResolvers<void>()
    this.#gate = gate.promise
    try {
      // What was asked for before is durable after this.
      await this.#database.update(() => {})
      this.#deleted = false
      const found = await this.#look(look)
      while (await this.#database.update((tx) => remove(tx, found))) continue
      return found
    } catch (err) {
      this.#deleted = true
      throw err
    } finally {
      this.#gate = undefined
      gate.resolve()
    }
  }

  async #look<T>(look: (tx: ReadBucket) => Promise<T>): Promise<T> {
    using state = this.#database.pin()
    return await look(state.root)
  }

  /** Says that a record is gone, and in which backend it leaves something behind. */
  markDeleted(backend?: 'content' | { readonly snapshotter: string }): void {
    this.#deleted = true
    if (backend === 'content') this.dirtyContent = true
    else if (backend) this.dirtySnapshotters.add(backend.snapshotter)
  }

  onMutation(listener: Listener): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) }
  }

  #notify(): void {
    for (const listener of this.#listeners) listener({ deleted: this.#deleted })
  }
}
