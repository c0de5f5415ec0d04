import { createHash, randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { copyFile, constants, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createZstdDecompress } from 'node:zlib'

import type { Reader, Store } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'
import type { Differ } from '#core/diff/diff.ts'
import type { Descriptor } from '#core/images/images.ts'
import type { Mount } from '#core/mount/mount.ts'
import { resourceExhausted, unimplemented } from '#lib/errors/errors.ts'
import { fullDisk } from '#lib/fs/full-disk.ts'

import { layerPlace } from './layer-place.ts'

/** Layers that are erofs images; `+zstd` after it is one that is compressed as a whole. */
const erofsLayer = 'application/vnd.erofs.layer.v1'

const pieceSize = 1 << 20

/** How many times its own size a layer may become, once it is larger than the floor, in bytes. */
const maxRatio = 5000
const ratioFloor = 2 ** 30

/**
 * Puts layers that are erofs images into snapshots of the erofs snapshotter as they are; nothing is
 * unpacked. All else is for another differ: what that one unpacks, the snapshotter makes an image of.
 *
 * Source: upstream `plugins/diff/erofs`.
 */
export class ErofsDiffer implements Differ {
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  async apply(ctx: Context, layer: Descriptor, mounts: readonly Mount[]): Promise<Descriptor> {
    const [type, suffix] = layer.mediaType.split('+')
    if (type !== erofsLayer || (suffix !== undefined && suffix !== 'zstd')) {
      throw unimplemented(`unsupported media type: ${layer.mediaType}`)
    }
    const place = layerPlace(mounts)
    await using reader = await this.#store.reader(ctx, layer.digest)
    const unfinished = `${place}.${randomBytes(6).toString('hex')}`
    try {
      const result = suffix
        ? { ...(await inflate(ctx, reader, unfinished)), mediaType: erofsLayer }
        : await copy(ctx, reader, unfinished, layer)
      await rename(unfinished, place)
      await sync(dirname(place))
      return result
    } catch (err) {
      await rm(unfinished, { force: true })
      ctx.signal.throwIfAborted()
      throw fullDisk(err, place)
    }
  }

  async compare(): Promise<Descriptor> {
    return await Promise.reject(unimplemented('making an erofs layer of two trees'))
  }
}

/** Shares the blocks of the blob where the file system can. */
async function copy(
  ctx: Context,
  reader: Reader,
  to: string,
  layer: Descriptor,
): Promise<Descriptor> {
  if (reader.path === undefined) await pipeline(streamOf(reader), writerTo(to), ctx)
  else await copyFile(reader.path, to, constants.COPYFILE_FICLONE)
  await sync(to)
  return layer
}

async function inflate(
  ctx: Context,
  reader: Reader,
  to: string,
): Promise<{ readonly digest: string; readonly size: number }> {
  const hash = createHash('sha256')
  let size = 0
  const count = async function* (pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const piece of pieces) {
      size += piece.length
      if (size > ratioFloor && size > reader.size * maxRatio) {
        throw resourceExhausted(`layer grows to more than ${maxRatio} times its size`)
      }
      hash.update(piece)
      yield piece
    }
  }
  await pipeline(streamOf(reader), createZstdDecompress(), count, writerTo(to), ctx)
  await sync(to)
  return { digest: `sha256:${hash.digest('hex')}`, size }
}

const streamOf = (reader: Reader): Readable =>
  reader.path === undefined
    ? Readable.from(piecesOf(reader))
    : createReadStream(reader.path, { highWaterMark: pieceSize })

async function* piecesOf(reader: Reader): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < reader.size; ) {
    const piece = await reader.read(at, pieceSize)
    if (piece.length === 0) return
    at += piece.length
    yield piece
  }
}

const writerTo =
  (path: string) =>
  async (pieces: AsyncIterable<Uint8Array>): Promise<void> => {
    await using file = await open(path, 'wx', 0o644)
    for await (const piece of pieces) await file.writeFile(piece)
  }

async function sync(path: string): Promise<void> {
  await using file = await open(path)
  await file.sync()
}
