import type { Transform } from 'node:stream'
import { constants, createGunzip, createZstdDecompress } from 'node:zlib'

import { type Compression, compressionBytes, detectCompression } from '#lib/bytes/compression.ts'

/** Bytes of each piece a decompressor gives. */
const pieceSize = 256 * 1024
/** How many pieces it may be ahead. */
const maxAhead = 8
/** How far back zstd may refer, as a power of two: 64 MiB of memory, as much as Go's decoder permits. */
const maxZstdWindow = 26

/**
 * Bytes in pieces, from memory, a file, or another thread. The memory of a piece may change when the
 * next but one is asked for.
 */
export type Pieces = AsyncIterable<Uint8Array> | Iterable<Uint8Array>

export interface DecompressOptions {
  /** Look at the first bytes for how they are compressed; otherwise they are passed on as they are. */
  readonly detect: boolean
  /** Gets every piece of the source before it is used. It may throw. */
  readonly onSource?: (piece: Uint8Array) => void
  /** Gets every piece of the result, in order, to be used before it returns. It may take its time, and it may throw. */
  readonly onData: (piece: Uint8Array) => void
}

/**
 * Decompresses `source` while `onData` runs: zlib works on the next piece in Node's thread pool, and
 * this thread meanwhile uses the one before. Members that follow each other are one stream; anything
 * else behind the first is an error, as it is in Go, also zeros.
 *
 * @throws what `source`, `onSource` and `onData` throw, and zlib's errors.
 */
export async function decompress(source: Pieces, options: DecompressOptions): Promise<void> {
  let stream: Decompressor | undefined
  let consumer: Consumer | undefined
  let compression: Compression | undefined
  let given = 0
  let before = Promise.resolve()
  for await (const piece of withFirst(source, compressionBytes, options)) {
    given += piece.length
    if (compression === undefined) {
      compression = options.detect ? detectCompression(piece) : 'none'
      stream = streamFor(compression)
      consumer = stream && new Consumer(stream, options.onData)
    }
    // Nobody takes more, and `done` says why.
    if (stream?.destroyed || consumer?.ended) break
    if (!consumer) {
      options.onData(piece)
      continue
    }
    const used = consumer.give(piece)
    await before
    before = used
  }
  stream?.end()
  await consumer?.done
  if (stream && stream.bytesWritten < given) throw new Error(garbage[compression ?? 'none'])
}

/** The pieces of `source`, of which the first has at least `size` bytes if there are as many. */
async function* withFirst(
  source: Pieces,
  size: number,
  { onSource }: DecompressOptions,
): AsyncGenerator<Uint8Array> {
  let first: Uint8Array | undefined = new Uint8Array()
  for await (const piece of source) {
    onSource?.(piece)
    if (first) first = first.length === 0 ? piece : Buffer.concat([first, piece])
    if (first && first.length < size) continue
    yield first ?? piece
    first = undefined
  }
  if (first && first.length > 0) yield first
}

type Decompressor = Transform & { readonly bytesWritten: number }

function streamFor(compression: Compression): Decompressor | undefined {
  if (compression === 'none') return undefined
  const options = { chunkSize: pieceSize, highWaterMark: pieceSize }
  if (compression === 'gzip') return createGunzip(options)
  const params = { [constants.ZSTD_d_windowLogMax]: maxZstdWindow }
  return createZstdDecompress({ ...options, params })
}

/** Go's words for what follows a stream and is no further member of it. */
const garbage: Readonly<Record<Compression, string>> = {
  none: '',
  gzip: 'gzip: invalid header',
  zstd: 'invalid input: magic number mismatch',
}

/** Takes pieces off a stream at once, so that it goes on, and hands them over one per turn of the loop. */
class Consumer {
  /** Settles when all pieces were handed over, or when that failed. */
  readonly done: Promise<void>
  readonly #stream: Transform
  readonly #onData: (piece: Uint8Array) => void
  readonly #queue: Uint8Array[] = []
  readonly #outcome = Promise.withResolvers<void>()
  /** Who waits for a piece to be used up. */
  readonly #unused = new Set<() => void>()
  /** Whether it has given all it will. */
  ended = false
  #scheduled = false

  constructor(stream: Transform, onData: (piece: Uint8Array) => void) {
    this.#stream = stream
    this.#onData = onData
    this.done = this.#outcome.promise
    // Whoever feeds the stream waits for `done` only at the end.
    const release = (): void => this.#unused.forEach((used) => used())
    this.done.then(release, release)
    stream.on('data', (piece: Uint8Array) => {
      this.#queue.push(piece)
      if (this.#queue.length >= maxAhead) stream.pause()
      this.#schedule()
    })
    stream.on('error', (err) => this.#outcome.reject(err))
    stream.on('end', () => {
      this.ended = true
      this.#schedule()
    })
  }

  /** Gives the stream its next piece. @returns when it is used up, or will never be. */
  async give(piece: Uint8Array): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#unused.add(resolve)
    this.#stream.write(piece, () => resolve())
    await promise
    this.#unused.delete(resolve)
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
      if (piece) {
        this.#onData(piece)
        giveBack(piece)
      }
    } catch (err) {
      this.#stream.destroy()
      this.#outcome.reject(err)
      return
    }
    if (this.#queue.length > 0) this.#schedule()
    else if (this.ended) this.#outcome.resolve()
    if (this.#stream.isPaused() && this.#queue.length < maxAhead / 2) this.#stream.resume()
  }
}

/**
 * Frees the memory of a piece that a decompressor has given, unless it goes on writing behind it. Left
 * to the collector, it would come to 64 MB before that looks.
 */
function giveBack({ buffer, byteOffset, byteLength }: Uint8Array): void {
  const isLast = byteOffset + byteLength === buffer.byteLength
  if (isLast && buffer instanceof ArrayBuffer) buffer.transfer(0)
}
