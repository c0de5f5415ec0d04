import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'

import { encodeHeader, endOfArchive } from '#lib/tar/writer.ts'

import { compressLayer, writeArchive } from './big-image.ts'
import type { BigImage } from './row.ts'

const pieceBytes = 1 << 20
const fileBytes = 64 * pieceBytes

/** Makes the archive of an image with one layer of `bytes`: large files, half random and half zeros. */
export async function makeHugeImage(
  dir: string,
  bytes: number,
  called = 'huge',
): Promise<BigImage> {
  const name = `docker.io/library/${called}:latest`
  const tree = join(dir, `${called}-tree`)
  await mkdir(join(tree, 'blobs/sha256'), { recursive: true })
  const files = Math.max(1, Math.round(bytes / fileBytes))
  const layer = await compressLayer(Readable.from(contents(files)), tree, 1)
  const file = join(dir, `${called}.tar`)
  await writeArchive(tree, file, name, [layer])
  return { name, file, gzipBytes: layer.size, tarBytes: layer.tarBytes, files }
}

/** Farther apart than gzip looks back, the same random bytes are not found to be the same. */
function* contents(files: number): Generator<Uint8Array> {
  const random = randomBytes(8 * pieceBytes)
  const zeros = Buffer.alloc(pieceBytes)
  for (let i = 0; i < files; i++) {
    yield encodeHeader({ type: 'file', name: `file${i}`, mode: 0o644, size: fileBytes })
    for (let at = 0; at < fileBytes / pieceBytes; at++) {
      const from = ((at >> 1) % 8) * pieceBytes
      yield at % 2 === 0 ? random.subarray(from, from + pieceBytes) : zeros
    }
  }
  yield endOfArchive
}
