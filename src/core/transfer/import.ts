import { readBlob } from '#core/content/read-blob.ts'
import type { Context } from '#core/context.ts'
import { importArchive } from '#core/images/archive/import-archive.ts'
import { maxDocumentBytes } from '#core/images/children.ts'
import type { Descriptor, Image, NewImage } from '#core/images/images.ts'
import { parseIndex } from '#core/images/oci.ts'

import { labelArchive } from './archive-graph.ts'
import { archivedImages } from './archive-names.ts'
import { underLease } from './lease.ts'
import { namedImages, storeImage } from './names.ts'
import { Selection } from './pull/selection.ts'
import type { TransferStores } from './stores.ts'
import type { ArchiveSource, ImageTarget, TransferOptions } from './transfer.ts'
import { unpackManifests } from './unpack-manifests.ts'

/**
 * See `Transferrer.import`. Of an archive for named platforms all that is for them must be there; of one
 * for all, the manifests.
 *
 * Source: upstream `core/transfer/local/import.go`.
 */
export async function importImages(
  ctx: Context,
  stores: TransferStores,
  from: ArchiveSource,
  into: ImageTarget,
  { onProgress: report = () => {} }: TransferOptions = {},
): Promise<readonly Image[]> {
  await using leased = await underLease(ctx, stores.leases)
  const own = leased.ctx
  report({ event: 'Importing' })
  const { forceCompress = false } = from
  const index = await importArchive(own, stores.content, from.bytes, { forceCompress })
  const complete = (into.platforms ?? []).length > 0
  const { discardLayers = false } = into
  const wanted = { selection: new Selection(into), complete, discardLayers }
  const manifests = await labelArchive(own, stores.content, index, wanted)
  await unpackManifests(own, stores, manifests, into.unpacks ?? [], report)

  const images: Image[] = []
  for (const image of await namesIn(own, stores, index, into)) {
    const stored = await storeImage(own, stores.images, image)
    report({ event: 'saved', name: stored.name, descriptor: stored.target })
    images.push(stored)
  }
  report({ event: 'Completed import' })
  return images
}

/** What is in the index, and the index itself if it shall have a name. */
async function namesIn(
  ctx: Context,
  { content }: TransferStores,
  index: Descriptor,
  into: ImageTarget,
): Promise<readonly NewImage[]> {
  const entries = parseIndex(await readBlob(ctx, content, index.digest, maxDocumentBytes))
  return [...namesOf(index, into), ...entries.flatMap((entry) => archivedImages(entry, into))]
}

/** Prefixes are for what is in it. */
function namesOf(index: Descriptor, into: ImageTarget): readonly NewImage[] {
  const extraReferences = (into.extraReferences ?? []).filter(({ isPrefix }) => !isPrefix)
  if (into.name === '' && extraReferences.length === 0) return []
  return namedImages(index, { ...into, extraReferences })
}
