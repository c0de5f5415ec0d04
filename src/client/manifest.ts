import { readBlob } from '#core/content/read-blob.ts'
import type { Context } from '#core/context.ts'
import { maxDocumentBytes } from '#core/images/children.ts'
import type { Descriptor } from '#core/images/images.ts'
import { invalidArgument, notFound } from '#lib/errors/errors.ts'

import {
  type ImageConfig,
  type Manifest,
  isIndex,
  isManifest,
  parseConfig,
  parseIndex,
  parseManifest,
} from '#core/images/oci.ts'
import { bestOf, onlyPlatform } from '#core/platforms/match.ts'
import { formatPlatform, type Platform } from '#core/platforms/platforms.ts'
import type { Session } from './session.ts'

/** How deep indexes may lie in indexes. */
const maxDepth = 4

/** An image for one platform. */
export interface ResolvedImage {
  readonly manifest: Manifest
  readonly config: ImageConfig
}

type Content = Pick<Session['content'], 'reader'>

/**
 * The manifest and config of `target` for `platform`.
 *
 * @throws `not_found` when there is none for it, or content is missing; `invalid_argument` for what
 * is no image.
 */
export async function resolveImage(
  ctx: Context,
  content: Content,
  target: Descriptor,
  platform: Platform,
): Promise<ResolvedImage> {
  const { digest } = await findManifest(ctx, content, target, platform)
  const manifest = parseManifest(await readBlob(ctx, content, digest, maxDocumentBytes))
  const config = parseConfig(await readBlob(ctx, content, manifest.config.digest, maxDocumentBytes))
  if (config.diffIds.length === manifest.layers.length) return { manifest, config }
  throw invalidArgument(
    `mismatched image rootfs and manifest layers of ${digest}: ${config.diffIds.length} and ${manifest.layers.length}`,
  )
}

async function findManifest(
  ctx: Context,
  content: Content,
  target: Descriptor,
  platform: Platform,
): Promise<Descriptor> {
  let next: Descriptor = target
  for (let depth = 0; depth < maxDepth; depth++) {
    if (isManifest(next.mediaType)) return next
    if (!isIndex(next.mediaType)) {
      throw invalidArgument(`unexpected media type ${next.mediaType} for ${next.digest}`)
    }
    const entries = parseIndex(await readBlob(ctx, content, next.digest, maxDocumentBytes))
    const [match] = bestOf(entries, onlyPlatform(platform))
    if (!match) {
      throw notFound(`no match for platform ${formatPlatform(platform)} in ${next.digest}`)
    }
    next = match
  }
  throw invalidArgument(`indexes of ${target.digest} are nested deeper than ${maxDepth}`)
}
