import { availableParallelism } from 'node:os'

import { Semaphore } from '#lib/async/semaphore.ts'

import { CommandTimeout } from './command-error.ts'

/** How many runtimes that start something work at once: more would only take each other's time. */
const places = Math.max(8, 4 * availableParallelism())
/** How long one keeps its place, ms: who takes longer is stuck, or waits for something. */
const patienceMs = 2_000

/**
 * Bounds how many starts are worked on at a time, in order of arrival.
 *
 * One that hangs, or runs hooks for minutes, gives its place up after two seconds, so that it delays
 * others by that at most.
 */
export class StartSlots {
  readonly #patienceMs: number
  readonly #places: Semaphore

  constructor(free: number = places, patience: number = patienceMs) {
    this.#places = new Semaphore(free)
    this.#patienceMs = patience
  }

  /** Waits for a place; disposal gives it back. @throws `CommandTimeout` when `signal` aborts before. */
  async enter(signal?: AbortSignal): Promise<Disposable> {
    const slot = new DisposableStack()
    slot.use(await this.#acquire(signal))
    const late = setTimeout(() => slot.dispose(), this.#patienceMs).unref()
    slot.defer(() => clearTimeout(late))
    return slot
  }

  async #acquire(signal: AbortSignal | undefined): Promise<Disposable> {
    try {
      return await this.#places.acquire(signal ? { signal } : {})
    } catch (err) {
      throw new CommandTimeout('other runtimes left it no time to run', '', { cause: err })
    }
  }
}
