import { writeBlob } from '#core/content/write-blob.ts'
import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { invalidArgument } from '#lib/errors/errors.ts'
import type { RemoteContentStore } from '#proxy/content.ts'

import { list, mediaTypes, parseJson, record, text, texts } from '#core/images/oci.ts'
import type { Ingested, IngestedBlob } from './ingest.ts'
import { normalizeReference, tagOf } from './reference.ts'

/** Names an image in an index, in full. Source: upstream `core/images/annotations.go`. */
export const nameAnnotation = 'io.containerd.image.name'
/** Names an image in an index, often by its tag only. Source: OCI image-spec `annotations.md`. */
export const refNameAnnotation = 'org.opencontainers.image.ref.name'

/*
 * What `docker save` writes: `manifest.json` is a list with one element per image.
 *
 *   [{ "Config": "<path>", "RepoTags": ["<name>", …], "Layers": ["<path>", …] }]
 */

/**
 * Writes the manifests and the index that a Docker archive does not have.
 *
 * @returns the descriptor of the index.
 * @throws `invalid_argument` when `manifest.json` names what is not there.
 */
export async function indexDockerArchive(
  ctx: Context,
  content: RemoteContentStore,
  ingested: Ingested,
  document: Uint8Array,
): Promise<Descriptor> {
  const manifests: Descriptor[] = []
  for (const item of list(parseJson(document, 'manifest.json'))) {
    const { Config, RepoTags, Layers } = record(item)
    const manifest = {
      schemaVersion: 2,
      mediaType: mediaTypes.dockerManifest,
      config: configOf(ingested, text(Config)),
      layers: texts(Layers).map((path) => layerOf(ingested, path)),
    }
    const descriptor = await writeJson(ctx, content, manifest, mediaTypes.dockerManifest)
    const names = texts(RepoTags).map(normalizeReference)
    manifests.push(
      ...(names.length > 0 ? names.map((name) => named(descriptor, name)) : [descriptor]),
    )
  }
  const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests }
  return await writeJson(ctx, content, index, mediaTypes.ociIndex)
}

const named = (descriptor: Descriptor, name: string): Descriptor => ({
  ...descriptor,
  annotations: { [nameAnnotation]: name, [refNameAnnotation]: tagOf(name) },
})

function configOf(ingested: Ingested, path: string): Descriptor {
  const { digest, size } = find(ingested, path, 'image config')
  return { mediaType: mediaTypes.dockerConfig, digest, size }
}

function layerOf(ingested: Ingested, path: string): Descriptor {
  const { digest, size, head } = find(ingested, path, 'layer')
  const mediaType = isCompressed(head) ? mediaTypes.dockerLayerGzip : mediaTypes.dockerLayer
  return { mediaType, digest, size }
}

function find({ blobs, links }: Ingested, path: string, what: string): IngestedBlob {
  const blob = blobs.get(path) ?? blobs.get(links.get(path) ?? '')
  if (!blob) throw invalidArgument(`${what} ${JSON.stringify(path)} not found in the archive`)
  return blob
}

const magics = [
  [0x1f, 0x8b, 0x08],
  [0x28, 0xb5, 0x2f, 0xfd],
] as const

/** Whether bytes begin like gzip or zstd; upstream gives both gzip's media type, and looks again later. */
const isCompressed = (head: Uint8Array): boolean =>
  magics.some((magic) => magic.every((byte, at) => head[at] === byte))

async function writeJson(
  ctx: Context,
  content: RemoteContentStore,
  value: object,
  mediaType: string,
): Promise<Descriptor> {
  const bytes = Buffer.from(JSON.stringify(value))
  const digest = digestOf(bytes)
  const size = bytes.length
  await writeBlob(ctx, content, [bytes], { ref: `manifest-${digest}`, size, digest })
  return { mediaType, digest, size }
}
