import type { Store } from '#core/content/content.ts'
import { readBlob } from '#core/content/read-blob.ts'
import { writeBlob } from '#core/content/write-blob.ts'
import type { Context } from '#core/context.ts'
import { maxDocumentBytes } from '#core/images/children.ts'
import { normalizeReference, refNameOf } from '#core/images/docker-reference.ts'
import type { Descriptor } from '#core/images/images.ts'
import {
  configPlatform,
  list,
  mediaTypes,
  parseJson,
  record,
  text,
  texts,
} from '#core/images/oci.ts'
import { normalizePlatform, type Platform } from '#core/platforms/platforms.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { invalidArgument } from '#lib/errors/errors.ts'

import { dockerLayers } from './docker-layers.ts'
import type { Ingested } from './ingest.ts'
import { dockerFile, goJson, nameAnnotation, refNameAnnotation } from './layout.ts'
import type { IngestedBlob } from './upload.ts'

export interface DockerOptions {
  /** Compress layers that are not. */
  readonly forceCompress: boolean
}

/**
 * Writes the manifests and the index that a Docker archive does not have: the bytes are containerd's.
 *
 * @returns the descriptor of the index.
 * @throws `invalid_argument` when `manifest.json` names what is not there, or images by what is no name.
 */
export async function indexDockerArchive(
  ctx: Context,
  content: Store,
  ingested: Ingested,
  options: DockerOptions,
): Promise<Descriptor> {
  const manifests: object[] = []
  const document = ingested.documents.get(dockerFile) ?? new Uint8Array()
  for (const item of list(parseJson(document, dockerFile))) {
    const { Config, RepoTags, Layers } = record(item)
    const names = texts(RepoTags).map(normalizeReference)
    const config = find(ingested, text(Config), 'image config')
    const layers = texts(Layers).map((path) => find(ingested, path, 'layer'))
    const manifest = {
      schemaVersion: 2,
      mediaType: mediaTypes.dockerManifest,
      config: { mediaType: mediaTypes.dockerConfig, digest: config.digest, size: config.size },
      layers: await dockerLayers(ctx, content, layers, options.forceCompress),
    }
    const { mediaType, digest, size } = await writeJson(ctx, content, manifest, manifest.mediaType)
    const platform = platformToJson(await platformOf(ctx, content, config.digest))
    const named = names.map((name) => ({ annotations: annotationsOf(name) }))
    for (const more of named.length > 0 ? named : [{}]) {
      manifests.push({ mediaType, digest, size, ...more, platform })
    }
  }
  const index = { schemaVersion: 2, manifests: manifests.length > 0 ? manifests : null }
  return await writeJson(ctx, content, index, mediaTypes.ociIndex)
}

const annotationsOf = (name: string): object => ({
  [nameAnnotation]: name,
  [refNameAnnotation]: refNameOf(name),
})

function find({ blobs, links }: Ingested, path: string, what: string): IngestedBlob {
  const blob = blobs.get(path) ?? blobs.get(links.get(path) ?? '')
  if (!blob) throw invalidArgument(`${what} ${JSON.stringify(path)} not found in the archive`)
  return blob
}

/** What a config says that it is for, in the words of this program. */
async function platformOf(ctx: Context, content: Store, digest: string): Promise<Platform> {
  const platform = configPlatform(await readBlob(ctx, content, digest, maxDocumentBytes))
  return normalizePlatform(platform ?? { os: '', architecture: '', variant: '' })
}

/** In the order of Go's fields. */
const platformToJson = (platform: Platform): object => ({
  architecture: platform.architecture,
  os: platform.os,
  ...(platform.osVersion && { 'os.version': platform.osVersion }),
  ...(platform.osFeatures && { 'os.features': platform.osFeatures }),
  ...(platform.variant && { variant: platform.variant }),
})

async function writeJson(
  ctx: Context,
  content: Store,
  value: object,
  mediaType: string,
): Promise<Descriptor> {
  const bytes = goJson(value)
  const digest = digestOf(bytes)
  const size = bytes.length
  await writeBlob(ctx, content, [bytes], { ref: `manifest-${digest}`, size, digest })
  return { mediaType, digest, size }
}
