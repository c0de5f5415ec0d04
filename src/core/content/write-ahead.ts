/** A write under way. */
interface Write {
  readonly chunk: Uint8Array
  readonly written: Promise<void>
}

/** Writes under way, in order, with a bound: more can come while the disk is busy. */
export class WriteAhead {
  readonly #mostBytes: number
  readonly #onWritten: (chunk: Uint8Array) => void
  readonly #queue: Write[] = []
  #bytes = 0
  #failure: { readonly err: unknown } | undefined

  /**
   * @param mostBytes - How many bytes may wait to be written.
   * @param onWritten - Hears of each chunk in its order, when all before it are written too.
   */
  constructor(mostBytes: number, onWritten: (chunk: Uint8Array) => void = () => undefined) {
    this.#mostBytes = mostBytes
    this.#onWritten = onWritten
  }

  /** @throws what a write has failed with, as soon as that is known. */
  check(): void {
    if (this.#failure) throw this.#failure.err
  }

  /** Takes over a write that has begun, and waits while too much is under way. @throws as `check`. */
  async add(chunk: Uint8Array, written: Promise<void>): Promise<void> {
    written.catch((err: unknown) => void (this.#failure ??= { err }))
    this.#queue.push({ chunk, written })
    this.#bytes += chunk.length
    while (this.#bytes > this.#mostBytes) await this.#first()
  }

  /** All is written. @throws as `check`. */
  async done(): Promise<void> {
    while (this.#queue.length > 0) await this.#first()
    this.check()
  }

  /** Nothing is written any more, whatever became of it. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#queue.map(async ({ written }) => await written))
  }

  async #first(): Promise<void> {
    const [first] = this.#queue
    if (!first) return
    await first.written
    this.#queue.shift()
    this.#bytes -= first.chunk.length
    this.#onWritten(first.chunk)
  }
}
