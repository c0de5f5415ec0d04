import { readBlob } from '#core/content/read-blob.ts'
import type { Context } from '#core/context.ts'
import { maxDocumentBytes } from '#core/images/children.ts'
import { configPlatform, type ManifestEntry, parseConfig, parseManifest } from '#core/images/oci.ts'
import { onlyPlatform } from '#core/platforms/match.ts'
import { hostPlatform, normalizePlatform, type Platform } from '#core/platforms/platforms.ts'
import { unpackImage } from '#core/unpack/unpack-image.ts'
import type { ImageToUnpack } from '#core/unpack/unpack.ts'

import { refKey } from './ref-key.ts'
import { mayUnpack, type TransferStores } from './stores.ts'
import type { ReportProgress, UnpackTarget } from './transfer.ts'

/**
 * Unpacks those of `manifests`, whose content is there, that are for a platform of `targets`: by what their
 * configs say. Source: upstream `core/unpack/unpacker.go`.
 */
export async function unpackManifests(
  ctx: Context,
  stores: TransferStores,
  manifests: readonly ManifestEntry[],
  targets: readonly UnpackTarget[],
  report: ReportProgress,
): Promise<void> {
  if (targets.length === 0) return
  for (const entry of manifests) {
    const image = await readImage(ctx, stores, entry, targets)
    const target = image && targetFor(image.platform, targets)
    const configType = image?.manifest.config.mediaType
    const place = target && stores.unpackPlace({ ...target, configType })
    if (!image || !place) {
      ctx.log.debug('nowhere to unpack an image to', { digest: entry.digest })
      continue
    }
    await unpackImage(ctx, place, image, {
      onProgress({ event, layer }) {
        const parents = [refKey(entry)]
        report({ event, name: refKey(layer), parents, total: layer.size, descriptor: layer })
      },
    })
  }
}

interface ReadImage extends ImageToUnpack {
  readonly platform: Platform
}

/** Undefined for what has no file system. */
async function readImage(
  ctx: Context,
  stores: TransferStores,
  { digest }: ManifestEntry,
  targets: readonly UnpackTarget[],
): Promise<ReadImage | undefined> {
  const manifest = parseManifest(await readBlob(ctx, stores.content, digest, maxDocumentBytes))
  const configType = manifest.config.mediaType
  if (!mayUnpack(stores, targets, configType)) return undefined
  const bytes = await readBlob(ctx, stores.content, manifest.config.digest, maxDocumentBytes)
  const platform = configPlatform(bytes)
  if (!platform) return undefined
  return { manifest, config: parseConfig(bytes), platform: normalizePlatform(platform) }
}

const targetFor = (
  platform: Platform,
  targets: readonly UnpackTarget[],
): UnpackTarget | undefined =>
  targets.find((target) => onlyPlatform(target.platform ?? hostPlatform).matches(platform))
