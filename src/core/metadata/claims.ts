import { KeyedMutex } from '#lib/async/keyed-mutex.ts'
import type { AbortOptions } from '#lib/async/mutex.ts'

/**
 * Keeps the collector from what is being made in a backend.
 *
 * No transaction spans a call of a backend, so for a while a backend has something that no record
 * names. Whoever makes it holds the lock of its name until the record is durable, and says so with
 * `claim`. The collector watches before it reads the records, and takes the lock of a name before
 * it deletes it: what is then neither in the records it read nor claimed since is garbage.
 */
export class Claims {
  readonly #mutex = new KeyedMutex()
  readonly #watching = new Set<Set<string>>()

  /** Waits for the name; dispose what it returns to release it. */
  async lock(name: string, options?: AbortOptions): Promise<Disposable> {
    return await this.#mutex.lock(name, options)
  }

  /** Waits for several names. */
  async lockAll(names: readonly string[], options?: AbortOptions): Promise<Disposable> {
    return await this.#mutex.lockAll(names, options)
  }

  /** Says that a durable record names it. To be called under its lock, after the write. */
  claim(name: string): void {
    for (const names of this.#watching) names.add(name)
  }

  /** The names claimed from now on, until it is disposed. */
  watch(): { readonly names: ReadonlySet<string> } & Disposable {
    const names = new Set<string>()
    this.#watching.add(names)
    return { names, [Symbol.dispose]: () => void this.#watching.delete(names) }
  }
}
