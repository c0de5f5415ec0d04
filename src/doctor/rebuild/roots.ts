import { open } from 'node:fs/promises'

import type { Descriptor, Image } from '#core/images/images.ts'
import {
  isIndex,
  isManifest,
  list,
  type ManifestEntry,
  mediaTypes,
  parseIndex,
  parseManifest,
  parseObject,
  record,
  text,
} from '#core/images/oci.ts'

import type { Blob } from '#doctor/checks/blobs.ts'

/*
 * What blobs tell of images when the names of these are lost. A blob that is a manifest or an index
 * and that no other one lists was what an image's name stood for. Nothing tells the name but an
 * annotation in an index, where whoever made the archive wrote it. An index that
 * names all it lists is the table of contents of such an archive, and no image.
 */

/** More than any real index or manifest has, in bytes. */
const maxJsonBytes = 16 << 20
const openBrace = 0x7b
/** The whole name of an image, beside its manifest in an index. */
const nameAnnotation = 'io.containerd.image.name'
/** Often only a tag, which names nothing by itself. */
const refNameAnnotation = 'org.opencontainers.image.ref.name'

/** For an image whose name nobody knows; the domain is one that can never be (RFC 2606). */
export const namelessImage = (digest: string): string => `lost.invalid/image@${digest}`

/** A manifest or index, and what it lists. */
interface Described {
  readonly target: Descriptor
  readonly children: readonly ManifestEntry[]
}

/** The images that `blobs` are of: all that they are by name where that is told, else by digest. */
export async function findImages(blobs: Iterable<Blob>, signal: AbortSignal): Promise<Image[]> {
  const found = new Map<string, Described>()
  for (const blob of blobs) {
    signal.throwIfAborted()
    const described = await describeBlob(blob)
    if (described) found.set(blob.digest, described)
  }
  const listed = new Set(found.values().flatMap(({ children }) => children.map((c) => c.digest)))
  const names = new Map<string, Descriptor>()
  for (const { target, children } of found.values()) {
    const there = children.flatMap(({ digest, annotations = {} }) => {
      const child = found.get(digest)?.target
      return child ? [{ child, name: nameIn(annotations) }] : []
    })
    for (const { child, name } of there) if (name !== undefined) names.set(name, child)
    const isContents = there.length > 0 && there.every(({ name }) => name !== undefined)
    if (!listed.has(target.digest) && !isContents) names.set(namelessImage(target.digest), target)
  }
  const now = new Date()
  const times = { createdAt: now, updatedAt: now }
  return Array.from(names, ([name, target]) => ({ name, target, labels: {}, ...times }))
}

function nameIn(annotations: Readonly<Record<string, string>>): string | undefined {
  const names = [annotations[nameAnnotation], annotations[refNameAnnotation]]
  return names.find((name) => name?.includes('/') && !/\s/.test(name))
}

/** What a blob lists, if it is a manifest or an index; many do not say so themselves. */
async function describeBlob({ digest, path, size }: Blob): Promise<Described | undefined> {
  if (size > maxJsonBytes) return undefined
  await using file = await open(path)
  // Most blobs are layers: those need not be read to be known as no object.
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, 0)
  if (buffer[0] !== openBrace) return undefined
  const bytes = await file.readFile()
  try {
    const root = parseObject(bytes, 'blob')
    const mediaType = typeOf(root)
    if (mediaType === undefined) return undefined
    const target = { mediaType, digest, size }
    if (isIndex(mediaType)) return { target, children: parseIndex(bytes) }
    const { config, layers } = parseManifest(bytes)
    return { target, children: [config, ...layers] }
  } catch {
    // JSON of another kind: a config, or what somebody keeps in a registry.
    return undefined
  }
}

function typeOf(root: Readonly<Record<string, unknown>>): string | undefined {
  const said = text(root['mediaType'])
  if (isIndex(said) || isManifest(said)) return said
  if (said !== '') return undefined
  if (list(root['manifests']).length > 0) return mediaTypes.ociIndex
  const isImage = text(record(root['config'])['digest']) !== '' && Array.isArray(root['layers'])
  return isImage ? mediaTypes.ociManifest : undefined
}
