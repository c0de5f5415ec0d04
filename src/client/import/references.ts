import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import { hasCode } from '#lib/errors/errors.ts'
import type { RemoteContentStore } from '#proxy/content.ts'

import { childrenOf } from '#client/manifest.ts'
import { type ManifestEntry, isConfig, isLayer, isManifest } from '#core/images/oci.ts'
import { type Platform, runsOn } from '#core/images/platform.ts'

const prefix = 'containerd.io/gc.ref.content.'

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
    const children = all.filter((child) => runsOn(child.platform, platform))
    if (children.length === 0) continue
    await requireAll(ctx, content, children)
    const labels = referenceLabels(children)
    const paths = Object.keys(labels).map((key) => `labels.${key}`)
    await content.update(ctx, { digest: next.digest, labels }, paths)
    queue.push(...children)
  }
}

/** One label per child: `config`, `m.0`, `l.0`, `l.1`, … by what it is. */
export function referenceLabels(children: readonly ManifestEntry[]): Record<string, string> {
  const counts = new Map<string, number>()
  const labels: Record<string, string> = {}
  for (const child of children) {
    const kind = kindOf(child.mediaType)
    const index = counts.get(kind) ?? 0
    counts.set(kind, index + 1)
    const numbered = kind === 'config' && index === 0 ? kind : `${kind}${index}`
    labels[`${prefix}${numbered}`] = child.digest
  }
  return labels
}

function kindOf(mediaType: string): string {
  if (isConfig(mediaType)) return 'config'
  if (isManifest(mediaType)) return 'm.'
  return isLayer(mediaType) ? 'l.' : ''
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
