import { createHash } from 'node:crypto'
import { closeSync } from 'node:fs'
import { Readable, type Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip, createZstdCompress } from 'node:zlib'

import { endOfArchive } from '#lib/tar/writer.ts'
import { openRoot } from '#sys/resolve.ts'

import type { LayerResult } from './apply-layer.ts'
import { ChangeWriter } from './change-writer.ts'
import { changes } from './changes.ts'
import type { Compression } from '#lib/bytes/compression.ts'

export interface CompareTreesOptions {
  readonly compression: Compression
  /** Times after this one, in nanoseconds since the epoch, become this one. */
  readonly latestTime?: bigint | undefined
  /** Gets the pieces of the layer, one after the other. */
  readonly write: (piece: Uint8Array) => Promise<void>
  /** Called often; throws to stop. */
  readonly check: () => void
}

/**
 * Writes the layer that makes `upper` of `lower`.
 *
 * @returns digest and size of the layer before compression.
 * @throws {SystemError}, what `write` and `check` throw.
 */
export async function compareTrees(
  lower: string,
  upper: string,
  options: CompareTreesOptions,
): Promise<LayerResult> {
  const hash = createHash('sha256')
  let size = 0
  function* counted(): Generator<Uint8Array> {
    for (const piece of layer(lower, upper, options.latestTime)) {
      options.check()
      hash.update(piece)
      size += piece.length
      yield piece
    }
  }
  const source = Readable.from(counted(), { objectMode: true })
  const write = async (pieces: AsyncIterable<Uint8Array>): Promise<void> => {
    for await (const piece of pieces) await options.write(piece)
  }
  const compressor = compressorFor(options.compression)
  await (compressor ? pipeline(source, compressor, write) : pipeline(source, write))
  return { digest: `sha256:${hash.digest('hex')}`, size }
}

/** The archive: every change, and its end. */
function* layer(
  lower: string,
  upper: string,
  latestTime: bigint | undefined,
): Generator<Uint8Array> {
  using stack = new DisposableStack()
  const before = stack.adopt(openRoot(lower), closeSync)
  const after = stack.adopt(openRoot(upper), closeSync)
  const writer = new ChangeWriter({ root: after, latestTime })
  for (const change of changes(before, after)) yield* writer.pieces(change)
  yield endOfArchive
}

function compressorFor(compression: Compression): Transform | undefined {
  if (compression === 'none') return undefined
  return compression === 'gzip' ? createGzip() : createZstdCompress()
}
