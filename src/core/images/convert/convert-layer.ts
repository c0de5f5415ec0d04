import { createHash } from 'node:crypto'
import { Transform } from 'node:stream'
import { createGunzip, createGzip, createZstdCompress, createZstdDecompress } from 'node:zlib'

import type { Store } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'
import { uncompressedLabel } from '#core/diff/diff.ts'
import { transformBlob } from '#core/images/transform-blob.ts'
import { compressionBytes, detectCompression } from '#lib/bytes/compression.ts'

import { layerTypeFor, type LayerCompression } from './media-types.ts'

interface LayerBlob {
  readonly mediaType: string
  readonly digest: string
  readonly size: number
}

/** How a layer is converted. */
export interface LayerConversion {
  readonly to: LayerCompression
  /** Hears how many of its bytes have been read. */
  readonly onRead?: (bytes: number) => void
}

const chunkSize = 1 << 18

/** Whether a layer of this type becomes another one. */
export function isConverted(mediaType: string, to: LayerCompression): boolean {
  const type = layerTypeFor(mediaType, to)
  return type !== undefined && type !== mediaType
}

/**
 * Makes a layer with another compression. Its other labels go with it.
 *
 * Source: upstream `core/images/converter/uncompress`.
 *
 * @returns undefined when it has that already, by its type, or is of a kind that nobody knows.
 */
export async function convertLayer(
  ctx: Context,
  content: Store,
  { mediaType, digest }: LayerBlob,
  { to, onRead }: LayerConversion,
): Promise<LayerBlob | undefined> {
  const type = layerTypeFor(mediaType, to)
  if (type === undefined || type === mediaType) return undefined
  const { [uncompressedLabel]: _known, ...labels } = (await content.info(ctx, digest)).labels
  const plain = new HashTap()
  const made = await transformBlob(ctx, content, digest, {
    ref: `convert-${to === 'none' ? 'uncompress' : to}-from-${digest}`,
    labels,
    onRead,
    through: [...(await decoders(ctx, content, digest)), plain, ...encoders(to)],
  })
  const diffId = plain.digest()
  const known = { [uncompressedLabel]: diffId }
  for (const blob of to === 'none' ? [digest] : [digest, made.digest]) {
    await content.update(ctx, { digest: blob, labels: known }, [`labels.${uncompressedLabel}`])
  }
  return { mediaType: type, ...made }
}

/** What undoes the compression that a blob has, whatever its type says. */
async function decoders(
  ctx: Context,
  content: Store,
  digest: string,
): Promise<readonly Transform[]> {
  await using reader = await content.reader(ctx, digest)
  const compression = detectCompression(
    await reader.read(0, Math.min(compressionBytes, reader.size)),
  )
  if (compression === 'gzip') return [createGunzip({ chunkSize })]
  return compression === 'zstd' ? [createZstdDecompress({ chunkSize })] : []
}

function encoders(to: LayerCompression): readonly Transform[] {
  if (to === 'gzip') return [createGzip({ chunkSize })]
  return to === 'zstd' ? [createZstdCompress({ chunkSize })] : []
}

/** Hashes what goes through. */
class HashTap extends Transform {
  readonly #hash = createHash('sha256')

  override _transform(
    chunk: Buffer,
    _encoding: BufferEncoding,
    done: (err: Error | null, chunk: Buffer) => void,
  ): void {
    this.#hash.update(chunk)
    done(null, chunk)
  }

  /** Once, when all has gone through. */
  digest(): string {
    return `sha256:${this.#hash.digest('hex')}`
  }
}
