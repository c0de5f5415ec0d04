import type { Http2Stream } from '#lib/http2/stream.ts'

/** The wait of a writer whose stream takes no more for now. */
export class Drain {
  #waiting: PromiseWithResolvers<void> | undefined

  /** Resolves at `done`, or at once on a closed stream. */
  async wait(stream: Http2Stream): Promise<void> {
    if (stream.closed) return
    this.#waiting ??= Promise.withResolvers<void>()
    await this.#waiting.promise
  }

  /** The stream takes more, or is over. */
  done(): void {
    this.#waiting?.resolve()
    this.#waiting = undefined
  }
}
