import type { Store } from '#core/content/content.ts'
import { readBlob } from '#core/content/read-blob.ts'
import type { Context } from '#core/context.ts'
import {
  isConfig,
  isIndex,
  list,
  parseIndex,
  parseManifest,
  parseObject,
  text,
} from '#core/images/oci.ts'
import type { Manifest, ManifestEntry } from '#core/images/oci.ts'
import { isManifest } from '#core/images/oci.ts'
import { invalidArgument, resourceExhausted } from '#lib/errors/errors.ts'

/** More than any real index, manifest or config has, in bytes. */
const maxJsonBytes = 16 << 20

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
  const bytes = await readBlob(ctx, content, digest, maxJsonBytes)
  checkKind(bytes, mediaType, digest)
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
  if (config.size > maxJsonBytes) {
    throw resourceExhausted(
      `manifest ${digest}: its config has ${config.size} bytes, and may have ${maxJsonBytes}`,
    )
  }
}

/** Bytes of a config. */
export const readConfig = async (
  ctx: Context,
  content: Pick<Store, 'reader'>,
  digest: string,
): Promise<Uint8Array> => await readBlob(ctx, content, digest, maxJsonBytes)

/**
 * Refuses what says or shows that it is something else than its descriptor says: another may read it as
 * that. Source: upstream `core/images/image.go`, `validateMediaType`.
 */
function checkKind(bytes: Uint8Array, mediaType: string, digest: string): void {
  const { mediaType: own, manifests, config, layers, fsLayers } = parseObject(bytes, digest)
  if (list(fsLayers).length > 0) throw invalidArgument(`${digest}: schema 1 not supported`)
  const [isOne, isOther] = [isIndex(mediaType), isIndex(text(own)) || list(manifests).length > 0]
  if (!isOne && isOther) {
    throw invalidArgument(`${digest}: expected manifest but found index (${mediaType})`)
  }
  if (isOne && (isManifest(text(own)) || config !== undefined || layers !== undefined)) {
    throw invalidArgument(`${digest}: expected index but found manifest (${mediaType})`)
  }
}
