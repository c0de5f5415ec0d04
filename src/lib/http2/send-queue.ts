import type { Outbox } from './outbox.ts'

interface Piece {
  readonly bytes: Uint8Array
  readonly sent: (() => void) | undefined
}

/** Bytes that a stream may not send yet, in the pieces they came in. */
export class SendQueue {
  #pieces: Piece[] = []
  #next = 0
  #bytes = 0

  get bytes(): number {
    return this.#bytes
  }

  /** `sent` is called when the kernel has all of `bytes`. */
  push(bytes: Uint8Array, sent?: () => void): void {
    if (bytes.length === 0) return
    this.#pieces.push({ bytes, sent })
    this.#bytes += bytes.length
  }

  /** Moves the first `count` bytes on. */
  moveTo(outbox: Outbox, count: number): void {
    this.#bytes -= count
    for (let left = count; left > 0; ) {
      const piece = this.#pieces[this.#next]
      if (!piece) throw new RangeError('the queue has less than it counts')
      const { bytes, sent } = piece
      const whole = bytes.length <= left
      const part = whole ? bytes : bytes.subarray(0, left)
      outbox.bytes(part)
      left -= part.length
      if (whole && sent) outbox.whenTaken(sent)
      if (whole) this.#pieces[this.#next++] = nothing
      else this.#pieces[this.#next] = { bytes: bytes.subarray(part.length), sent }
    }
    if (this.#bytes > 0) return
    this.#pieces = []
    this.#next = 0
  }
}

const nothing: Piece = { bytes: new Uint8Array(), sent: undefined }
