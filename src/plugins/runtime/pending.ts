/** Work that goes on after its caller has left, and that the owner waits for before it ends. */
export class Pending {
  readonly #running = new Set<Promise<unknown>>()

  /** Adds work; gives it back. */
  add<T>(work: Promise<T>): Promise<T> {
    const tracked = work.finally(() => this.#running.delete(tracked))
    this.#running.add(tracked)
    // Whoever awaits it gets the error; nobody may.
    tracked.catch(() => {})
    return tracked
  }

  /** Resolves when all work has ended, well or not. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#running)
  }
}
