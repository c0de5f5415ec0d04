/** Bytes that came in chunks and are taken from the front. One chunk alone is not copied. */
export class Gathered {
  #chunks: Buffer[] = []
  #length = 0

  get length(): number {
    return this.#length
  }

  push(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#length += chunk.length
  }

  /** All that is there, in one piece; it stays valid. */
  all(): Buffer {
    const [first] = this.#chunks
    if (first && this.#chunks.length === 1) return first
    const all = Buffer.concat(this.#chunks, this.#length)
    this.#chunks = [all]
    return all
  }

  /** Takes `bytes` off the front. */
  drop(bytes: number): void {
    const rest = this.all().subarray(bytes)
    this.#chunks = rest.length > 0 ? [rest] : []
    this.#length = rest.length
  }
}
