import { failedPrecondition } from '#lib/errors/errors.ts'

import { Reader, type Scope, Writer } from './bucket.ts'
import type { Bucket, Database, PinnedState, ReadBucket } from './database.ts'
import type { BoltFile } from './file.ts'
import type { Store } from './store.ts'
import type { Transaction } from './transaction.ts'

/** After so many ms without a commit the last one is made complete: long enough for one that follows to do it. */
const settleMs = 5

/** One call of `update` that waits for its turn or for its commit. */
interface Job {
  /** Runs the function; throws what it throws. */
  run(tx: Transaction): void
  /** Tells the caller what its function returned. */
  succeed(): void
  fail(reason: unknown): void
}

/** How a database is run. */
export interface BoltSettings {
  readonly readOnly: boolean
  /** For how long update functions are gathered into one commit before it is flushed, in ms. */
  readonly gatherMs: number
  /** Until when nothing may be written; a failure is that of every update. */
  readonly settled: Promise<unknown>
}

/** A database on an open file, which it owns. */
export class BoltDatabase implements Database {
  readonly path: string
  readonly #file: BoltFile
  readonly #store: Store
  readonly #settings: BoltSettings
  readonly #queue = new Set<Job>()
  /** States that are still read. */
  readonly #pins = new Set<Scope>()
  #working: Promise<void> | undefined
  /** Ends when nothing was asked for in a while. */
  #idle: NodeJS.Timeout | undefined
  #closed = false

  constructor(file: BoltFile, store: Store, settings: BoltSettings) {
    this.path = file.path
    this.#file = file
    this.#store = store
    this.#settings = settings
  }

  get revision(): number {
    return this.#store.meta.txid
  }

  view<T>(fn: (tx: ReadBucket) => T): T {
    this.#check()
    const { root, sequence } = this.#store.meta
    return inScope((scope) =>
      fn(new Reader(this.#store.pager, scope, { epoch: 0, root, sequence })),
    )
  }

  pin(): PinnedState {
    this.#check()
    const { root, sequence } = this.#store.meta
    const scope = { open: true }
    const pages = this.#store.pin()
    this.#pins.add(scope)
    return {
      root: new Reader(this.#store.pager, scope, { epoch: 0, root, sequence }),
      [Symbol.dispose]: () => {
        scope.open = false
        if (this.#pins.delete(scope)) pages[Symbol.dispose]()
      },
    }
  }

  async update<T>(fn: (tx: Bucket) => T, options?: { readonly signal?: AbortSignal }): Promise<T> {
    this.#check()
    if (this.#settings.readOnly)
      throw failedPrecondition(`database ${JSON.stringify(this.path)} is read-only`)
    const signal = options?.signal
    signal?.throwIfAborted()

    const { promise, resolve, reject } = Promise.withResolvers<T>()
    let result: () => void
    const job: Job = {
      run: (tx) => {
        const value = inScope((scope) => fn(Writer.root(tx, scope)))
        result = () => resolve(value)
      },
      succeed: () => result(),
      fail: reject,
    }
    const drop = () => {
      if (this.#queue.delete(job)) reject(signal?.reason)
    }
    signal?.addEventListener('abort', drop)
    try {
      this.#queue.add(job)
      this.#working ??= this.#work()
      return await promise
    } finally {
      signal?.removeEventListener('abort', drop)
    }
  }

  /** Refuses new updates, finishes those that were asked for, and closes the file. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#working
    clearTimeout(this.#idle)
    const [opened] = await Promise.allSettled([this.#settings.settled])
    if (opened.status === 'fulfilled') await this.#settle()
    for (const scope of this.#pins) scope.open = false
    await this.#store[Symbol.asyncDispose]()
    this.#file.close()
  }

  async #work(): Promise<void> {
    while (this.#queue.size > 0) {
      // Callers that are about to ask for an update, such as those the last commit woke, join.
      await new Promise((resolve) => setImmediate(resolve))
      await this.#commit()
    }
    this.#working = undefined
  }

  /** When it cannot be done, the next commit tries and says so; the last one is durable all the same. */
  async #settle(): Promise<void> {
    if (!this.#settings.readOnly) await this.#store.settle().catch(() => {})
  }

  #settleLater(): void {
    this.#idle ??= setTimeout(() => {
      this.#working ??= this.#settle().then(() => this.#work())
    }, settleMs).unref()
    this.#idle.refresh()
  }

  /** One transaction: runs what is queued, flushes, and tells the callers. Never throws. */
  async #commit(): Promise<void> {
    const outcomes: (() => void)[] = []
    const jobs: Job[] = []
    try {
      await this.#settings.settled
      await this.#store.prepare()
      const tx = this.#store.begin()
      const end = performance.now() + this.#settings.gatherMs
      for (const job of this.#queue) {
        this.#queue.delete(job)
        jobs.push(job)
        outcomes.push(attempt(tx, job))
        if (performance.now() > end) break
      }
      if (tx.changed) await this.#store.commit(tx, jobs.length === 1 && this.#queue.size === 0)
    } catch (err) {
      const failed = jobs.length > 0 ? jobs : [...this.#queue]
      for (const job of failed) {
        this.#queue.delete(job)
        job.fail(err)
      }
      return
    }
    this.#settleLater()
    for (const outcome of outcomes) outcome()
  }

  #check(): void {
    if (this.#closed) throw failedPrecondition(`database ${JSON.stringify(this.path)} is closed`)
  }
}

/**
 * Runs one function. What it gives is told later: even its error may come from what others wrote
 * before it, which is not durable yet.
 */
function attempt(tx: Transaction, job: Job): () => void {
  try {
    tx.attempt(() => job.run(tx))
    return () => job.succeed()
  } catch (err) {
    return () => job.fail(err)
  }
}

/** Runs `fn` with a scope that ends with it. */
function inScope<T>(fn: (scope: Scope) => T): T {
  const scope = { open: true }
  try {
    const result = fn(scope)
    if (result instanceof Promise) throw new TypeError('a transaction cannot span an await')
    return result
  } finally {
    scope.open = false
  }
}
