import type { Outbox } from './outbox.ts'

/** Bytes that a stream may not send yet, in the pieces they came in. */
export class SendQueue {
  #pieces: Uint8Array[] = []
  #next = 0
  #bytes = 0

  get bytes(): number {
    return this.#bytes
  }

  push(piece: Uint8Array): void {
    if (piece.length === 0) return
    this.#pieces.push(piece)
    this.#bytes += piece.length
  }

  /** Moves the first `count` bytes on. */
  moveTo(outbox: Outbox, count: number): void {
    this.#bytes -= count
    for (let left = count; left > 0; ) {
      const piece = this.#pieces[this.#next]
      if (!piece) throw new RangeError('the queue has less than it counts')
      const part = piece.length <= left ? piece : piece.subarray(0, left)
      outbox.bytes(part)
      left -= part.length
      if (part === piece) this.#pieces[this.#next++] = noBytes
      else this.#pieces[this.#next] = piece.subarray(part.length)
    }
    if (this.#bytes > 0) return
    this.#pieces = []
    this.#next = 0
  }
}

const noBytes = new Uint8Array()
