import { pipeline, Readable } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'

const magics = {
  gzip: [0x1f, 0x8b, 0x08],
  zstd: [0x28, 0xb5, 0x2f, 0xfd],
} as const

type Compression = keyof typeof magics

/** Enough to tell by. */
export const magicBytes = 4

/** How bytes that begin with `head` are compressed; undefined when they are not. */
export function compressionOf(head: Uint8Array): Compression | undefined {
  const begins = (magic: readonly number[]): boolean => magic.every((byte, at) => head[at] === byte)
  if (begins(magics.gzip)) return 'gzip'
  // A frame to skip begins with any of sixteen bytes.
  const skipped = ((head[0] ?? 0) & 0xf0) === 0x50 && begins([head[0] ?? 0, 0x2a, 0x4d, 0x18])
  return begins(magics.zstd) || skipped ? 'zstd' : undefined
}

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
  for (let length = 0; length < magicBytes; ) {
    const { done, value } = await rest.next()
    if (done) break
    head.push(value)
    length += value.length
  }
  const compression = compressionOf(
    Buffer.concat(head.map((chunk) => chunk.subarray(0, magicBytes))),
  )
  const whole = startingWith(head, rest)
  return compression ? inflate(compression, whole) : whole
}

const chunkSize = 1 << 18

function inflate(
  compression: Compression,
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
