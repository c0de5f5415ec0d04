import { type AbortOptions, Mutex } from './mutex.ts'

interface Entry {
  readonly mutex: Mutex
  /** How many hold it or wait for it. */
  users: number
}

/** One mutex per key, kept only while somebody uses it. */
export class KeyedMutex {
  readonly #entries = new Map<string, Entry>()

  /** Waits for `key`; dispose what it returns to release it. */
  async lock(key: string, options: AbortOptions = {}): Promise<Disposable> {
    const entry = this.#entries.getOrInsertComputed(key, () => ({ mutex: new Mutex(), users: 0 }))
    entry.users++
    const leave = (): void => {
      if (--entry.users === 0) this.#entries.delete(key)
    }
    try {
      const held = await entry.mutex.lock(options)
      const scope = new DisposableStack()
      scope.defer(leave)
      scope.use(held)
      return scope
    } catch (err) {
      leave()
      throw err
    }
  }

  /** Waits for all of `keys`, in an order that cannot deadlock with another `lockAll`. */
  async lockAll(keys: Iterable<string>, options: AbortOptions = {}): Promise<Disposable> {
    using scope = new DisposableStack()
    for (const key of [...new Set(keys)].toSorted()) scope.use(await this.lock(key, options))
    return scope.move()
  }
}
