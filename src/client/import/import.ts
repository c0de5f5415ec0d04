import { createReadStream } from 'node:fs'

import { readBlob } from '#core/content/read-blob.ts'
import { writeBlob } from '#core/content/write-blob.ts'
import type { Context } from '#core/context.ts'
import type { Descriptor, Image } from '#core/images/images.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { hasCode, invalidArgument } from '#lib/errors/errors.ts'

import { mediaTypes, parseIndex, parseObject } from '#core/images/oci.ts'
import type { Platform } from '#core/platforms/platforms.ts'
import type { Session } from '#client/session.ts'
import { indexDockerArchive, nameAnnotation, refNameAnnotation } from './docker.ts'
import { type Ingested, ingest } from './ingest.ts'
import { labelReferences } from './references.ts'

/** An archive: a path, or its bytes as they come. */
export type ArchiveSource = string | AsyncIterable<Uint8Array>

/** What to take from an archive, and what to call it. */
export interface ImportArchiveOptions {
  readonly platform: Platform
  /** Name for an image of an OCI layout that has only a tag; without it the tag is the name. */
  readonly baseName: string
}

/** Read size: fewer and larger messages to the daemon. */
const readBytes = 1 << 20
const layoutVersion = '1.0.0'
const maxIndexBytes = 16 << 20

/**
 * Reads an OCI layout or a `docker save` archive into the content store and creates the images that
 * it names, or points those that exist at the new content.
 *
 * @throws `invalid_argument` for an archive that is neither; `not_found` when it is not complete.
 */
export async function importArchive(
  ctx: Context,
  session: Session,
  source: ArchiveSource,
  options: ImportArchiveOptions,
): Promise<Image[]> {
  const bytes =
    typeof source === 'string' ? createReadStream(source, { highWaterMark: readBytes }) : source
  const ingested = await ingest(ctx, session.content, bytes)
  const index = await indexOf(ctx, session, ingested)
  await labelReferences(ctx, session.content, index, options.platform)

  const entries = parseIndex(await readBlob(ctx, session.content, index.digest, maxIndexBytes))
  const images: Image[] = []
  for (const entry of entries) {
    const name = imageName(entry, options.baseName)
    if (name) images.push(await putImage(ctx, session, name, entry))
  }
  return images
}

async function indexOf(ctx: Context, session: Session, ingested: Ingested): Promise<Descriptor> {
  const { documents } = ingested
  const layout = documents.get('oci-layout')
  if (layout) return await ociIndex(ctx, session, documents, layout)
  const manifests = documents.get('manifest.json')
  if (!manifests) throw invalidArgument('unrecognized image format')
  return await indexDockerArchive(ctx, session.content, ingested, manifests)
}

async function ociIndex(
  ctx: Context,
  session: Session,
  documents: Ingested['documents'],
  layout: Uint8Array,
): Promise<Descriptor> {
  const version = parseObject(layout, 'oci-layout')['imageLayoutVersion']
  if (version !== layoutVersion) {
    throw invalidArgument(`unsupported OCI version ${JSON.stringify(version)}`)
  }
  const bytes = documents.get('index.json')
  if (!bytes) throw invalidArgument(`missing index.json in OCI layout ${layoutVersion}`)
  return await writeIndex(ctx, session, bytes)
}

async function writeIndex(ctx: Context, session: Session, bytes: Uint8Array): Promise<Descriptor> {
  const digest = digestOf(bytes)
  const size = bytes.length
  await writeBlob(ctx, session.content, [bytes], { ref: `tar-index-${digest}`, size, digest })
  return { mediaType: mediaTypes.ociIndex, digest, size }
}

/** What an entry of the index is to be called; empty for an image without a name. */
function imageName({ annotations = {} }: Descriptor, baseName: string): string {
  const full = annotations[nameAnnotation]
  if (full) return full
  const name = annotations[refNameAnnotation] ?? ''
  const isTag = !/[/:@]/.test(name)
  return name && baseName && isTag ? `${baseName}:${name}` : name
}

async function putImage(
  ctx: Context,
  session: Session,
  name: string,
  { mediaType, digest, size, annotations }: Descriptor,
): Promise<Image> {
  const target = { mediaType, digest, size, annotations }
  const image = { name, labels: {}, target }
  try {
    return await session.images.update(ctx, image, ['target'])
  } catch (err) {
    if (!hasCode(err, 'not_found')) throw err
    return await session.images.create(ctx, image)
  }
}
