/** Buffers of one size that are used again: new ones each time are much work for the collector. */
export class BufferPool {
  readonly size: number
  readonly #most: number
  readonly #free: Buffer[] = []

  /** Keeps at most `most` of them. */
  constructor(size: number, most: number) {
    this.size = size
    this.#most = most
  }

  /** One of this size, or of `bytes` if that is more. */
  take(bytes: number): Buffer {
    if (bytes > this.size) return Buffer.allocUnsafeSlow(bytes)
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(this.size)
  }

  /** Takes one back; nobody looks at it any more. */
  give(buffer: Buffer): void {
    if (buffer.length === this.size && this.#free.length < this.#most) this.#free.push(buffer)
  }
}
