import type { Descriptor } from '#core/images/images.ts'
import { blobPath } from '#plugins/content/local/layout.ts'
import { mayBeCompressed } from '#plugins/diff/walking/media-type.ts'

import type { Examination } from '#doctor/context.ts'
import { kindOf } from '#doctor/files.ts'
import type { ChainLayer } from '#doctor/image-graph.ts'
import type { LayerBlob } from '#doctor/layer/check-layer.ts'

/** A blob that a layer can be read from. */
export interface SourceBlob extends LayerBlob {
  readonly size: number
}

/** What of a layer there is to compare with. */
export type Sources = { readonly blobs: readonly SourceBlob[] } | { readonly missing: string }

/** The blobs of a layer, if all are there and sound. */
export async function sourcesOf(
  exam: Examination,
  layers: readonly ChainLayer[],
): Promise<Sources> {
  if (layers.length === 0) return { missing: 'it is of no image that is here' }
  const blobs: SourceBlob[] = []
  for (const { blobs: choices, chainId } of layers) {
    const blob = await firstSound(exam, choices)
    if (!blob) return { missing: `the blob of layer ${chainId} is not here, or not sound` }
    blobs.push(blob)
  }
  return { blobs }
}

async function firstSound(
  exam: Examination,
  choices: readonly Descriptor[],
): Promise<SourceBlob | undefined> {
  for (const { digest, mediaType, size } of choices) {
    const path = blobPath(exam.places.content, digest, 'doctor')
    if (exam.damaged.has(digest) || (await kindOf(path)) !== 'file') continue
    try {
      return { path, size, compressed: mayBeCompressed(mediaType) }
    } catch {
      // Encrypted, perhaps: only what unpacks it can read it.
    }
  }
  return undefined
}
