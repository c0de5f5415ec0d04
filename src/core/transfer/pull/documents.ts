import type { Store } from '#core/content/content.ts'
import { readBlob } from '#core/content/read-blob.ts'
import type { Context } from '#core/context.ts'
import { checkType, maxDocumentBytes } from '#core/images/children.ts'
import { isIndex, parseIndex, parseManifest } from '#core/images/oci.ts'
import type { Manifest, ManifestEntry } from '#core/images/oci.ts'

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

/** Bytes of a config. */
export const readConfig = async (
  ctx: Context,
  content: Pick<Store, 'reader'>,
  digest: string,
): Promise<Uint8Array> => await readBlob(ctx, content, digest, maxDocumentBytes)
