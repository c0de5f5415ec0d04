import type { Store } from '#core/content/content.ts'
import { readBlob } from '#core/content/read-blob.ts'
import type { Context } from '#core/context.ts'
import { invalidArgument } from '#lib/errors/errors.ts'

import type { Descriptor } from './images.ts'
import {
  isIndex,
  isManifest,
  list,
  type ManifestEntry,
  parseIndex,
  parseManifest,
  parseObject,
  text,
} from './oci.ts'

/** More than any real index, manifest or config has, in bytes. */
export const maxDocumentBytes = 16 << 20

/**
 * What `descriptor` refers to: the entries of an index, the config and the layers of a manifest; nothing for
 * other types. Source: upstream `core/images/image.go`, `Children`.
 *
 * @throws `not_found`; `invalid_argument` for content that is not what its type says.
 */
export async function childrenOf(
  ctx: Context,
  content: Pick<Store, 'reader'>,
  { mediaType, digest }: Descriptor,
): Promise<readonly ManifestEntry[]> {
  if (!isIndex(mediaType) && !isManifest(mediaType)) return []
  const bytes = await readBlob(ctx, content, digest, maxDocumentBytes)
  checkType(bytes, mediaType, digest)
  if (isIndex(mediaType)) return parseIndex(bytes)
  const { config, layers } = parseManifest(bytes)
  return [config, ...layers]
}

/**
 * Refuses what says or shows that it is something else than its descriptor says: another may read it as that.
 * Source: upstream `core/images/image.go`, `validateMediaType`.
 *
 * @throws `invalid_argument`
 */
export function checkType(bytes: Uint8Array, type: string, digest: string): void {
  const { mediaType, config, layers, manifests, fsLayers } = parseObject(bytes, digest)
  const own = text(mediaType)
  const bad = (why: string): Error => invalidArgument(`invalid desc ${digest}: media-type: ${why}`)
  if (list(fsLayers).length > 0) throw bad('schema 1 not supported')
  if (isManifest(type) && (isIndex(own) || manifests !== undefined)) {
    throw bad(`expected manifest but found index (${type})`)
  }
  if (isIndex(type) && (isManifest(own) || config !== undefined || layers !== undefined)) {
    throw bad(`expected index but found manifest (${type})`)
  }
}
