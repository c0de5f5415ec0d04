import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import { hasCode } from '#lib/errors/errors.ts'
import type { RemoteContentStore } from '#proxy/content.ts'

import { childrenOf } from '#client/manifest.ts'
import type { ManifestEntry } from '#core/images/oci.ts'
import { suitingOf, onlyPlatform } from '#core/platforms/match.ts'
import type { Platform } from '#core/platforms/platforms.ts'
import { referenceLabels } from '#core/images/reference-labels.ts'

/**
 * Labels everything below `root` with what it refers to, so that the collector keeps it all while
 * somebody keeps `root`. Entries for other platforms are left out, also when their content is there.
 *
 * Source: upstream `core/images/handlers.go`, `SetChildrenMappedLabels`.
 * @throws `not_found` for content that is missing.
 */
export async function labelReferences(
  ctx: Context,
  content: RemoteContentStore,
  root: Descriptor,
  platform: Platform,
): Promise<void> {
  const seen = new Set<string>()
  const queue: Descriptor[] = [root]
  for (let next = queue.shift(); next; next = queue.shift()) {
    if (seen.has(next.digest)) continue
    seen.add(next.digest)
    const all = await childrenOf(ctx, content, next)
    const children = suitingOf(all, onlyPlatform(platform))
    if (children.length === 0) continue
    await requireAll(ctx, content, children)
    const labels = referenceLabels(children)
    const paths = Object.keys(labels).map((key) => `labels.${key}`)
    await content.update(ctx, { digest: next.digest, labels }, paths)
    queue.push(...children)
  }
}

async function requireAll(
  ctx: Context,
  content: RemoteContentStore,
  children: readonly ManifestEntry[],
): Promise<void> {
  for (const { digest } of children) {
    try {
      await content.info(ctx, digest)
    } catch (err) {
      if (!hasCode(err, 'not_found')) throw err
      throw new Error('the archive does not hold all of the image', { cause: err })
    }
  }
}
