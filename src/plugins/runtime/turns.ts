import { raceAbort } from '#lib/async/mutex.ts'

/** Begins many things one by one, each in a turn of the event loop of its own: calls are answered in between. */
export class Turns {
  #last: Promise<void>

  /** @param start - Nothing begins before. */
  constructor(start: Promise<void>) {
    this.#last = start
  }

  /** Resolves when it is the caller's turn. @throws the reason of `signal`. */
  async next(signal: AbortSignal): Promise<void> {
    const turn = this.#last.then(() => new Promise<void>((resolve) => void setImmediate(resolve)))
    this.#last = turn
    await raceAbort(turn, signal)
  }
}
