import type { Transform } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'

import { type Compression, detectCompression } from './media-type.ts'

/** Bytes of each piece a decompressor gives. */
const pieceSize = 256 * 1024
/** How many pieces it may be ahead. */
const maxAhead = 8

/** Bytes in pieces, from memory, a file, or another thread. */
export type Pieces = AsyncIterable<Uint8Array> | Iterable<Uint8Array>

export interface DecompressOptions {
  /** Look at the first bytes for how they are compressed; otherwise they are passed on as they are. */
  readonly detect: boolean
  /** Gets every piece of the result, in order. It may take its time, and it may throw. */
  readonly onData: (piece: Uint8Array) => void
}

/**
 * Decompresses `source` while `onData` runs: zlib works on the next piece in Node's thread pool, and
 * this thread meanwhile uses the one before.
 *
 * @throws what `source` and `onData` throw, and zlib's errors.
 */
export async function decompress(source: Pieces, options: DecompressOptions): Promise<void> {
  let stream: Transform | undefined
  let consumer: Consumer | undefined
  let first = true
  for await (const piece of source) {
    if (first) {
      first = false
      stream = streamFor(options.detect ? detectCompression(piece) : 'none')
      consumer = stream && new Consumer(stream, options.onData)
    }
    // Nobody takes more, and `done` says why.
    if (stream?.destroyed) break
    if (!stream) options.onData(piece)
    else if (!stream.write(piece)) await consumer?.drained()
  }
  stream?.end()
  await consumer?.done
}

function streamFor(compression: Compression): Transform | undefined {
  if (compression === 'none') return undefined
  const options = { chunkSize: pieceSize, highWaterMark: pieceSize }
  return compression === 'gzip' ? createGunzip(options) : createZstdDecompress(options)
}

/** Takes pieces off a stream at once, so that it goes on, and hands them over one per turn of the loop. */
class Consumer {
  /** Settles when all pieces were handed over, or when that failed. */
  readonly done: Promise<void>
  readonly #stream: Transform
  readonly #onData: (piece: Uint8Array) => void
  readonly #queue: Uint8Array[] = []
  readonly #outcome = Promise.withResolvers<void>()
  #ended = false
  #scheduled = false

  constructor(stream: Transform, onData: (piece: Uint8Array) => void) {
    this.#stream = stream
    this.#onData = onData
    this.done = this.#outcome.promise
    // Whoever feeds the stream waits for `done` only at the end.
    this.done.catch(() => undefined)
    stream.on('data', (piece: Uint8Array) => {
      this.#queue.push(piece)
      if (this.#queue.length >= maxAhead) stream.pause()
      this.#schedule()
    })
    stream.on('error', (err) => this.#outcome.reject(err))
    stream.on('end', () => {
      this.#ended = true
      this.#schedule()
    })
  }

  /** Waits until the stream takes more, or fails as soon as this does. */
  async drained(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#stream.once('drain', resolve)
    try {
      await Promise.race([promise, this.done])
    } finally {
      this.#stream.off('drain', resolve)
    }
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => this.#next())
  }

  #next(): void {
    this.#scheduled = false
    const piece = this.#queue.shift()
    try {
      if (piece) this.#onData(piece)
    } catch (err) {
      this.#stream.destroy()
      this.#outcome.reject(err)
      return
    }
    if (this.#queue.length > 0) this.#schedule()
    else if (this.#ended) this.#outcome.resolve()
    if (this.#stream.isPaused() && this.#queue.length < maxAhead / 2) this.#stream.resume()
  }
}
