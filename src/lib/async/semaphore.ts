import { type AbortOptions, Mutex, raceAbort } from './mutex.ts'

/** Lets a few at a time in, in order of arrival. */
export class Semaphore {
  readonly #door = new Mutex()
  #free: number
  #onFree: () => void = nothing

  constructor(places: number) {
    this.#free = places
  }

  /** Waits for a place; dispose what it returns to give it back. */
  async acquire(options: AbortOptions = {}): Promise<Disposable> {
    using _first = await this.#door.lock(options)
    while (this.#free === 0) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#onFree = resolve
      await raceAbort(promise, options.signal)
    }
    this.#free--
    return {
      [Symbol.dispose]: () => {
        this.#free++
        this.#onFree()
      },
    }
  }
}

const nothing = (): void => undefined
