import { type AbortOptions, raceAbort } from '#lib/async/mutex.ts'

/**
 * Lets one do the work that several want, while the others wait. When it is done, each of them does it once
 * more, for itself, and finds most of it done. When the one fails or gives up, the next takes over.
 */
export class Together {
  /** By what is done; each tells whether it went well. */
  readonly #running = new Map<string, Promise<boolean>>()

  async run<T>(options: AbortOptions, key: string, work: () => Promise<T>): Promise<T> {
    for (let first = this.#running.get(key); first; first = this.#running.get(key)) {
      if (await raceAbort(first, options.signal)) return await work()
    }
    return await this.#first(key, work)
  }

  async #first<T>(key: string, work: () => Promise<T>): Promise<T> {
    const { promise, resolve } = Promise.withResolvers<boolean>()
    this.#running.set(key, promise)
    let done = false
    try {
      const result = await work()
      done = true
      return result
    } finally {
      this.#running.delete(key)
      resolve(done)
    }
  }
}
