import type { Store } from '#core/content/content.ts'
import { readBlob } from '#core/content/read-blob.ts'
import type { Context } from '#core/context.ts'
import { maxDocumentBytes } from '#core/images/children.ts'
import { familiarReference } from '#core/images/docker-reference.ts'
import type { Descriptor } from '#core/images/images.ts'
import { mediaTypes, parseManifest } from '#core/images/oci.ts'
import { newHasher, parseDigest } from '#lib/digest/digest.ts'
import { dataLoss } from '#lib/errors/errors.ts'
import { encodeHeader, endOfArchive, paddingOf } from '#lib/tar/writer.ts'

import {
  type DockerManifest,
  type ExportArchiveOptions,
  type ExportedImage,
  exportParts,
} from './export-parts.ts'
import { blobsDir, dockerFile, goJson, indexFile, layoutFile, layoutVersion } from './layout.ts'

/** A file of the archive: bytes, a blob, or a directory. */
interface ArchiveRecord {
  readonly name: string
  readonly mode: number
  readonly content: Uint8Array | Descriptor | undefined
}

/** Hears how many of the bytes of an archive have gone out. */
export type ArchiveListener = (done: number, total: number) => void

/** Bytes of one read. */
const pieceBytes = 1 << 20

/**
 * The bytes of an archive of images, an OCI layout that Docker can load, too, sorted by name. What is in it is
 * found before the first byte comes; blobs are read and checked as they go out.
 *
 * The bytes are containerd's, but for the order of images in `manifest.json`, where containerd has none.
 *
 * @throws as `exportParts`; `data_loss` for a blob that is not what its digest says.
 */
export async function* exportArchive(
  ctx: Context,
  content: Pick<Store, 'info' | 'reader'>,
  images: readonly ExportedImage[],
  options: ExportArchiveOptions,
  listener: ArchiveListener = () => {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const records = await recordsOf(ctx, content, images, options)
  const lengths = records.map((record) => headerOf(record).length + paddedSize(record))
  const total = lengths.reduce((sum, length) => sum + length, endOfArchive.length)
  let done = 0
  listener(done, total)
  for await (const bytes of bytesOf(ctx, content, records)) {
    yield bytes
    done += bytes.length
    listener(done, total)
  }
}

async function* bytesOf(
  ctx: Context,
  content: Pick<Store, 'reader'>,
  records: readonly ArchiveRecord[],
): AsyncGenerator<Uint8Array, void, undefined> {
  for (const record of records) {
    yield headerOf(record)
    const { content: what } = record
    if (what === undefined) continue
    if (what instanceof Uint8Array) yield what
    else yield* blobBytes(ctx, content, what)
    yield new Uint8Array(paddingOf(sizeOf(what)))
  }
  yield endOfArchive
}

const sizeOf = (what: Uint8Array | Descriptor): number =>
  what instanceof Uint8Array ? what.length : what.size

const paddedSize = ({ content: what }: ArchiveRecord): number =>
  what === undefined ? 0 : sizeOf(what) + paddingOf(sizeOf(what))

const headerOf = ({ name, mode, content: what }: ArchiveRecord): Uint8Array =>
  what === undefined
    ? encodeHeader({ type: 'directory', name, mode })
    : encodeHeader({ type: 'file', name, mode, size: sizeOf(what) })

async function* blobBytes(
  ctx: Context,
  content: Pick<Store, 'reader'>,
  { digest, size }: Descriptor,
): AsyncGenerator<Uint8Array, void, undefined> {
  await using reader = await content.reader(ctx, digest)
  if (reader.size !== size) throw dataLoss(`content ${digest} has ${reader.size} bytes of ${size}`)
  const hasher = newHasher(parseDigest(digest).algorithm)
  const next = async (at: number): Promise<Uint8Array> => {
    const length = Math.min(pieceBytes, size - at)
    if (!reader.readInto || length <= 0) return await reader.read(at, Math.max(0, length))
    const buffer = Buffer.allocUnsafeSlow(length)
    return buffer.subarray(0, await reader.readInto(at, buffer))
  }
  // One piece is read while the one before goes out.
  let reading = next(0)
  for (let at = 0; at < size; ) {
    ctx.signal.throwIfAborted()
    const piece = await reading
    if (piece.length === 0) throw dataLoss(`content ${digest} ended at ${at} of ${size} bytes`)
    at += piece.length
    reading = next(at)
    reading.catch(() => undefined)
    hasher.update(piece)
    yield piece
  }
  await reading
  if (hasher.digest() !== digest) throw dataLoss(`content ${digest} has digest ${hasher.digest()}`)
}

async function recordsOf(
  ctx: Context,
  content: Pick<Store, 'info' | 'reader'>,
  images: readonly ExportedImage[],
  options: ExportArchiveOptions,
): Promise<readonly ArchiveRecord[]> {
  const { entries, blobs, docker } = await exportParts(ctx, content, images, options)
  const layout = { imageLayoutVersion: layoutVersion }
  const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: entries.map(toJson) }
  const records: ArchiveRecord[] = [
    { name: layoutFile, mode: 0o444, content: goJson(layout) },
    { name: indexFile, mode: 0o644, content: goJson(index) },
    ...[...blobs.values()].map((blob) => ({
      name: pathOf(blob.digest),
      mode: 0o444,
      content: blob,
    })),
    ...directoriesOf(blobs.keys()),
  ]
  if (!options.skipCompatibilityManifest && docker.length > 0) {
    const list = await dockerList(ctx, content, docker)
    records.push({ name: dockerFile, mode: 0o644, content: goJson(list) })
  }
  return records.toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

/** In the order of Go's fields. */
const toJson = ({ mediaType, digest, size, annotations = {} }: Descriptor): object => ({
  mediaType,
  digest,
  size,
  annotations: Object.fromEntries(
    Object.entries(annotations).toSorted(([a], [b]) => (a < b ? -1 : 1)),
  ),
})

function directoriesOf(digests: Iterable<string>): readonly ArchiveRecord[] {
  const algorithms = new Set([...digests].map((digest) => parseDigest(digest).algorithm))
  const names = [blobsDir, ...[...algorithms].map((algorithm) => `${blobsDir}/${algorithm}`)]
  return names.map((name) => ({ name: `${name}/`, mode: 0o755, content: undefined }))
}

function pathOf(digest: string): string {
  const { algorithm, hex } = parseDigest(digest)
  return `${blobsDir}/${algorithm}/${hex}`
}

/** What `docker load` looks at. */
async function dockerList(
  ctx: Context,
  content: Pick<Store, 'reader'>,
  manifests: readonly DockerManifest[],
): Promise<readonly object[]> {
  const list: object[] = []
  for (const { manifest, names } of manifests) {
    const bytes = await readBlob(ctx, content, manifest.digest, maxDocumentBytes)
    const { config, layers } = parseManifest(bytes)
    list.push({
      Config: pathOf(config.digest),
      RepoTags: names.map(familiarReference),
      Layers: layers.length > 0 ? layers.map(({ digest }) => pathOf(digest)) : null,
    })
  }
  return list
}
