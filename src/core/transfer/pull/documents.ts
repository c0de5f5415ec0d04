import type { Store } from '#core/content/content.ts'
import { readBlob } from '#core/content/read-blob.ts'
import type { Context } from '#core/context.ts'
import { checkType, maxDocumentBytes } from '#core/images/children.ts'
import { isConfig, isIndex, parseIndex, parseManifest } from '#core/images/oci.ts'
import type { Manifest, ManifestEntry } from '#core/images/oci.ts'
import { resourceExhausted } from '#lib/errors/errors.ts'

/** As many as the kernel stacks. Source: Linux `fs/overlayfs/params.h`, `OVL_MAX_STACK`. */
const mostLayers = 500

/** An index or a manifest of the content store. */
export type Document =
  | { readonly kind: 'index'; readonly entries: readonly ManifestEntry[] }
  | { readonly kind: 'manifest'; readonly manifest: Manifest }

/** Reads the index or manifest `entry`. @throws `invalid_argument` for what is something else. */
export async function readDocument(
  ctx: Context,
  content: Pick<Store, 'reader'>,
  { mediaType, digest }: ManifestEntry,
): Promise<Document> {
  const bytes = await readBlob(ctx, content, digest, maxDocumentBytes)
  checkType(bytes, mediaType, digest)
  return isIndex(mediaType)
    ? { kind: 'index', entries: parseIndex(bytes) }
    : { kind: 'manifest', manifest: parseManifest(bytes) }
}

/** Refuses an image, before anything of it is loaded, that is larger than any real one. @throws `resource_exhausted`. */
export function checkSizes(digest: string, { config, layers }: Manifest): void {
  // What is no image, and will not be unpacked, may have what it likes.
  if (!isConfig(config.mediaType)) return
  if (layers.length > mostLayers) {
    throw resourceExhausted(
      `manifest ${digest} has ${layers.length} layers, and may have ${mostLayers}`,
    )
  }
  if (config.size > maxDocumentBytes) {
    throw resourceExhausted(
      `manifest ${digest}: its config has ${config.size} bytes, and may have ${maxDocumentBytes}`,
    )
  }
}

/** Bytes of a config. */
export const readConfig = async (
  ctx: Context,
  content: Pick<Store, 'reader'>,
  digest: string,
): Promise<Uint8Array> => await readBlob(ctx, content, digest, maxDocumentBytes)
