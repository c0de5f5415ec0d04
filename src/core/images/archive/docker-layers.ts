import { createGzip } from 'node:zlib'

import type { Store } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'
import { uncompressedLabel } from '#core/diff/diff.ts'
import type { Descriptor } from '#core/images/images.ts'
import { mediaTypes } from '#core/images/oci.ts'
import { transformBlob } from '#core/images/transform-blob.ts'
import { compressionBytes, detectCompression } from '#lib/bytes/compression.ts'

import type { IngestedBlob } from './upload.ts'

/**
 * What the manifest of a Docker archive says of layers. Where there is a compressed form of one already,
 * that takes its place. Source: upstream `core/images/archive/importer.go`, `resolveLayers`.
 */
export async function dockerLayers(
  ctx: Context,
  content: Store,
  layers: readonly IngestedBlob[],
  forceCompress: boolean,
): Promise<readonly Descriptor[]> {
  const known = await compressedForms(ctx, content, layers)
  const descriptors: Descriptor[] = []
  for (const [index, layer] of layers.entries()) {
    const { digest, size } = known.get(index) ?? layer
    const isCompressed = await hasCompression(ctx, content, digest)
    if (!isCompressed && forceCompress && !known.has(index)) {
      descriptors.push(await compress(ctx, content, digest))
    } else {
      const mediaType = isCompressed ? mediaTypes.dockerLayerGzip : mediaTypes.dockerLayer
      descriptors.push({ mediaType, digest, size })
    }
  }
  return descriptors
}

/** By the place of the layer; of a layer that is there twice, the last. */
async function compressedForms(
  ctx: Context,
  content: Store,
  layers: readonly IngestedBlob[],
): Promise<ReadonlyMap<number, IngestedBlob>> {
  const forms = new Map<number, IngestedBlob>()
  if (layers.length === 0) return forms
  const places = new Map(layers.map(({ digest }, index) => [digest, index]))
  const filters = [...places.keys()].map(
    (digest) => `labels.${JSON.stringify(uncompressedLabel)}==${JSON.stringify(digest)}`,
  )
  for await (const { digest, size, labels } of content.list(ctx, filters)) {
    const place = places.get(labels[uncompressedLabel] ?? '')
    if (place !== undefined) forms.set(place, { digest, size })
  }
  return forms
}

async function hasCompression(ctx: Context, content: Store, digest: string): Promise<boolean> {
  await using reader = await content.reader(ctx, digest)
  const start = await reader.read(0, Math.min(compressionBytes, reader.size))
  return detectCompression(start) !== 'none'
}

async function compress(ctx: Context, content: Store, digest: string): Promise<Descriptor> {
  const made = await transformBlob(ctx, content, digest, {
    ref: `compress-blob-${digest.replace(':', '-')}`,
    labels: { [uncompressedLabel]: digest },
    through: [createGzip({ chunkSize: 1 << 18 })],
  })
  return { mediaType: mediaTypes.dockerLayerGzip, ...made }
}
