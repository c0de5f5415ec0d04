import type { Writer } from '#core/content/content.ts'
import type { ComingBlob } from '#core/diff/diff.ts'

/** Smaller blobs are there before anybody has begun with them. */
const worthBytes = 8 << 20
/** What is extracted while it comes holds one of few workers. So it begins only when all will have come so soon, in ms, */
const soonMs = 2000
/** or when there is as much to do as that takes, at so many bytes in a ms. */
const bytesPerMs = 100_000

/** Shows other threads how far a blob is, and says when it is time to begin with it. */
export class Arrival {
  readonly #blob: ComingBlob
  readonly #onComing: (blob: ComingBlob) => void
  readonly #began = performance.now()
  readonly #first: number
  #told = false

  private constructor(blob: ComingBlob, onComing: (blob: ComingBlob) => void) {
    this.#blob = blob
    this.#onComing = onComing
    this.#first = Number(blob.there[0])
  }

  /** Undefined when nobody wants it, or cannot have it. `onComing` is called once, at most. */
  static of(
    writer: Pick<Writer, 'path' | 'status'>,
    size: number,
    onComing: ((blob: ComingBlob) => void) | undefined,
  ): Arrival | undefined {
    const { path } = writer
    if (!onComing || path === undefined || size < worthBytes) return undefined
    const there = new BigInt64Array(new SharedArrayBuffer(8))
    there[0] = BigInt(writer.status().offset)
    return new Arrival({ path, size, there }, onComing)
  }

  /** So many bytes have been written. */
  grown(offset: number): void {
    this.#set(BigInt(offset))
    const ms = performance.now() - this.#began
    const left = ((this.#blob.size - offset) * ms) / (offset - this.#first)
    if (this.#told || left > Math.max(soonMs, this.#blob.size / bytesPerMs)) return
    this.#told = true
    this.#onComing(this.#blob)
  }

  /** No more will come. */
  failed(): void {
    this.#set(-1n)
  }

  #set(value: bigint): void {
    Atomics.store(this.#blob.there, 0, value)
    Atomics.notify(this.#blob.there, 0)
  }
}
