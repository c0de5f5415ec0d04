import { pipeline, Readable } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'

import { type Compression, compressionBytes, detectCompression } from '#lib/bytes/compression.ts'

/**
 * The bytes of an archive without the compression that it may have as a whole.
 *
 * @throws what `zlib` says of damage.
 */
export async function decompressed(
  source: AsyncIterable<Uint8Array>,
): Promise<AsyncIterable<Uint8Array>> {
  const rest = source[Symbol.asyncIterator]()
  const head: Uint8Array[] = []
  for (let length = 0; length < compressionBytes; ) {
    const { done, value } = await rest.next()
    if (done) break
    head.push(value)
    length += value.length
  }
  const start = Buffer.concat(head.map((chunk) => chunk.subarray(0, compressionBytes)))
  const compression = detectCompression(start)
  const whole = startingWith(head, rest)
  return compression === 'none' ? whole : inflate(compression, whole)
}

const chunkSize = 1 << 18

function inflate(
  compression: Exclude<Compression, 'none'>,
  source: AsyncIterable<Uint8Array>,
): AsyncIterable<Buffer> {
  const decoder =
    compression === 'gzip' ? createGunzip({ chunkSize }) : createZstdDecompress({ chunkSize })
  // Whoever reads the decoder hears of what fails on either side.
  pipeline(Readable.from(source, { objectMode: false }), decoder, () => {})
  return decoder
}

async function* startingWith(
  head: readonly Uint8Array[],
  rest: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* head
    for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value
  } finally {
    await rest.return?.()
  }
}
