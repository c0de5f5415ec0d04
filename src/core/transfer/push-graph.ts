import type { Store } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'
import { childrenOf } from '#core/images/children.ts'
import type { Descriptor } from '#core/images/images.ts'
import { isIndex, isManifest, type ManifestEntry } from '#core/images/oci.ts'
import type { Labels } from '#core/labels/labels.ts'
import { anyPlatform, orderedPlatforms, suitingOf } from '#core/platforms/match.ts'
import type { Platform } from '#core/platforms/platforms.ts'
import { hasCode, notFound } from '#lib/errors/errors.ts'

/** Something that is sent. */
export interface Outgoing {
  readonly descriptor: Descriptor
  /** Its labels, and those of what it belongs to: a registry that has a manifest has its layers, too. */
  readonly labels: Labels
}

/** What an image consists of, everything once. In this order, nothing is sent before what it refers to. */
export interface PushGraph {
  /** Configs, layers, and whatever else refers to nothing. */
  readonly blobs: readonly Outgoing[]
  readonly manifests: readonly Outgoing[]
  /** Those in other ones first. */
  readonly indexes: readonly Outgoing[]
}

/** Hears of each thing, before what it refers to. */
export type OnFound = (descriptor: Descriptor, parent: Descriptor | undefined) => void

/**
 * Walks through `target` and what it refers to, as far as it is for one of `platforms`; all of it without.
 * Source: upstream `core/remotes/handlers.go`, `PushContent`.
 *
 * @throws `not_found` when a manifest or index is not there; `invalid_argument` for one that is none.
 */
export async function pushGraph(
  ctx: Context,
  content: Pick<Store, 'info' | 'reader'>,
  target: Descriptor,
  platforms: readonly Platform[],
  onFound: OnFound,
): Promise<PushGraph> {
  const graph = { blobs: [] as Outgoing[], manifests: [] as Outgoing[], indexes: [] as Outgoing[] }
  const matcher = platforms.length === 0 ? anyPlatform : orderedPlatforms(platforms)
  const seen = new Set<string>()
  const visit = async (
    entry: ManifestEntry,
    parent: Descriptor | undefined,
    inherited: Labels,
  ): Promise<void> => {
    onFound(entry, parent)
    if (seen.has(entry.digest)) return
    seen.add(entry.digest)
    const labels = { ...inherited, ...(await labelsOf(ctx, content, entry.digest)) }
    const children = suitingOf(await partsOf(ctx, content, entry), matcher)
    for (const child of children) await visit(child, entry, labels)
    graph[kindOf(entry)].push({ descriptor: entry, labels })
  }
  await visit(target, undefined, {})
  return graph
}

const kindOf = ({ mediaType }: Descriptor): keyof PushGraph => {
  if (isManifest(mediaType)) return 'manifests'
  return isIndex(mediaType) ? 'indexes' : 'blobs'
}

/** Nothing for content that is not here: the registry may have it. */
async function labelsOf(
  ctx: Context,
  content: Pick<Store, 'info'>,
  digest: string,
): Promise<Labels> {
  try {
    return (await content.info(ctx, digest)).labels
  } catch (err) {
    if (hasCode(err, 'not_found')) return {}
    throw err
  }
}

/** @throws `not_found`, of a part for some platform with its name. */
async function partsOf(
  ctx: Context,
  content: Pick<Store, 'reader'>,
  entry: ManifestEntry,
): Promise<readonly ManifestEntry[]> {
  const { digest, platform } = entry
  try {
    return await childrenOf(ctx, content, entry)
  } catch (err) {
    if (!hasCode(err, 'not_found') || platform === undefined) throw err
    const name = [platform.os, platform.architecture, platform.variant].filter(Boolean).join('/')
    throw notFound(
      `the image is also for ${name}, and that part, ${digest}, is not here: pull it for all platforms, or push only those that are here`,
      { cause: err },
    )
  }
}
