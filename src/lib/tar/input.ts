import { TarError } from './entry.ts'

/** A step of work that pauses (yields) whenever it needs more input. */
export type Step<T> = Generator<undefined, T, undefined>

const empty = new Uint8Array()

/** Bytes that come in chunks, taken in pieces of other sizes. */
export class Input {
  #chunk: Uint8Array = empty
  #at = 0
  #over = false

  /** The next chunk; the one before must be used up. */
  feed(chunk: Uint8Array): void {
    this.#chunk = chunk
    this.#at = 0
  }

  /** There are no more chunks. */
  finish(): void {
    this.#over = true
  }

  /** At least one byte and at most `max`, as a view. @throws {TarError} at the end of the input. */
  *some(max: number): Step<Uint8Array> {
    if (!(yield* this.#more())) throw new TarError('unexpected EOF')
    const piece = this.#chunk.subarray(this.#at, this.#at + max)
    this.#at += piece.length
    return piece
  }

  /** Exactly `size` bytes, copied only if they come in several chunks; `undefined` at the end of the input. */
  *exactly(size: number): Step<Uint8Array | undefined> {
    if (size === 0) return empty
    if (!(yield* this.#more())) return undefined
    const first = yield* this.some(size)
    if (first.length === size) return first
    const whole = new Uint8Array(size)
    whole.set(first)
    for (let at = first.length; at < size; ) {
      const piece = yield* this.some(size - at)
      whole.set(piece, at)
      at += piece.length
    }
    return whole
  }

  /** Like `exactly`. @throws {TarError} at the end of the input. */
  *all(size: number): Step<Uint8Array> {
    const bytes = yield* this.exactly(size)
    if (!bytes) throw new TarError('unexpected EOF')
    return bytes
  }

  *skip(size: number): Step<void> {
    for (let left = size; left > 0; ) left -= (yield* this.some(left)).length
  }

  /** Waits for a byte; false at the end. */
  *#more(): Step<boolean> {
    while (this.#at >= this.#chunk.length) {
      if (this.#over) return false
      // Nothing may keep a chunk alive, or look at it, after `push`.
      this.#chunk = empty
      this.#at = 0
      yield
    }
    return true
  }
}
