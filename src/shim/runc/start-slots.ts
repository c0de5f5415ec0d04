import { availableParallelism } from 'node:os'

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
  readonly #waiting: (() => void)[] = []
  #free: number

  constructor(free: number = places, patience: number = patienceMs) {
    this.#free = free
    this.#patienceMs = patience
  }

  /** Waits for a place; disposal gives it back. */
  async enter(): Promise<Disposable> {
    if (this.#free > 0) this.#free -= 1
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    const slot = new DisposableStack()
    slot.defer(() => this.#leave())
    const late = setTimeout(() => slot.dispose(), this.#patienceMs).unref()
    slot.defer(() => clearTimeout(late))
    return slot
  }

  /** The place goes to the next one. */
  #leave(): void {
    const next = this.#waiting.shift()
    if (next) next()
    else this.#free += 1
  }
}
