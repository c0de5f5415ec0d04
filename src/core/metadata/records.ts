import type { Context } from '#core/context.ts'
import type { Bucket, Database, ReadBucket } from '#lib/bolt/database.ts'

import { type Pauses, inSlices, sliceSize } from './slices.ts'
import { type Trace, TracedBucket } from './traced-bucket.ts'

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
  readonly #traces = new Set<Trace>()
  #deleted = false
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

  /** Runs `steps` on the last durable state, in slices between which others run. */
  async read<T>(steps: (tx: ReadBucket) => Iterator<void, T>, pauses?: Pauses): Promise<T> {
    using state = this.#database.pin()
    return await inSlices(steps(state.root), sliceSize, pauses)
  }

  /** Runs `fn` in a write, and resolves when that is durable. */
  async update<T>(ctx: Pick<Context, 'signal'>, fn: (tx: Bucket) => T): Promise<T> {
    ctx.signal.throwIfAborted()
    const result = await this.#database.update((tx) => fn(this.#traced(tx)), { signal: ctx.signal })
    this.#notify()
    return result
  }

  /**
   * Like `update`, for the second half of something that a backend has already done: the caller's
   * cancellation comes too late.
   */
  async settle<T>(fn: (tx: Bucket) => T): Promise<T> {
    const result = await this.#database.update((tx) => fn(this.#traced(tx)))
    this.#notify()
    return result
  }

  /**
   * Tells `trace` where others write, and resolves when all that was written before is durable. It
   * is told in the write itself, also of what is undone because the write fails.
   */
  async watch(trace: Trace): Promise<Disposable> {
    this.#traces.add(trace)
    using stack = new DisposableStack()
    stack.defer(() => void this.#traces.delete(trace))
    await this.#database.update(() => {})
    return stack.move()
  }

  /** A write of the collector, which nobody is told of. */
  async sweep<T>(fn: (tx: Bucket) => T): Promise<T> {
    return await this.#database.update(fn)
  }

  /** From here on, what is deleted is for the next collection. */
  resetDeleted(): void {
    this.#deleted = false
  }

  #traced(tx: Bucket): Bucket {
    let traced = tx
    for (const trace of this.#traces) traced = new TracedBucket(traced, trace)
    return traced
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
