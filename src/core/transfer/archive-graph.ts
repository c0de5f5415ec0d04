import type { Store } from '#core/content/content.ts'
import { setLabels } from '#core/content/set-labels.ts'
import type { Context } from '#core/context.ts'
import { childrenOf } from '#core/images/children.ts'
import type { Descriptor } from '#core/images/images.ts'
import {
  isConfig,
  isIndex,
  isLayer,
  isManifest,
  isNonDistributable,
  type ManifestEntry,
} from '#core/images/oci.ts'
import { referenceLabels } from '#core/images/reference-labels.ts'
import { hasCode, invalidArgument, notFound } from '#lib/errors/errors.ts'

import type { Selection } from './pull/selection.ts'

/** How deep indexes may lie in indexes. */
const maxDepth = 8

/** What of an archive is wanted, and whether all of that must be there. */
export interface WantedParts {
  readonly selection: Selection
  /** Configs and layers, too, which an archive for many platforms may lack of some. */
  readonly complete: boolean
  /** Layers are not tied to their manifest: the collector may have them. */
  readonly discardLayers: boolean
}

/**
 * Labels everything below the index of an archive with what it refers to, so that the collector keeps it all
 * while somebody keeps the index. What is not wanted is not looked at, and need not be there.
 *
 * Source: upstream `core/transfer/local/import.go`, `core/images/handlers.go`.
 *
 * @returns the manifests whose layers are wanted.
 * @throws `not_found` when nothing is wanted, or what is wanted is not there; `invalid_argument` for content
 * that is not what its type says.
 */
export async function labelArchive(
  ctx: Context,
  content: Store,
  index: Descriptor,
  { selection, complete, discardLayers }: WantedParts,
): Promise<readonly ManifestEntry[]> {
  const manifests: ManifestEntry[] = []
  const seen = new Set<string>()
  const visit = async (entry: ManifestEntry, depth: number): Promise<void> => {
    ctx.signal.throwIfAborted()
    if (seen.has(entry.digest)) return
    seen.add(entry.digest)
    if (depth > maxDepth) {
      throw invalidArgument(`indexes of ${index.digest} are nested deeper than ${maxDepth}`)
    }
    const children = await childrenOf(ctx, content, entry)
    const kept = discardLayers ? children.filter(({ mediaType }) => !isLayer(mediaType)) : children
    await setLabels(ctx, content, entry.digest, () => referenceLabels(kept))
    if (isManifest(entry.mediaType)) {
      const whole = selection.wantsLayers(entry)
      if (whole) manifests.push(entry)
      const needed = children.filter(({ mediaType }) => whole || isConfig(mediaType))
      if (complete) await requireAll(ctx, content, entry, needed)
      return
    }
    const wanted = selection.ofIndex(children)
    if (wanted.length === 0 && depth === 0) {
      throw notFound(selection.nothingIn(entry.digest, children))
    }
    for (const child of wanted) if (hasChildren(child)) await visit(child, depth + 1)
  }
  await visit(index, 0)
  return manifests
}

const hasChildren = ({ mediaType }: Descriptor): boolean =>
  isIndex(mediaType) || isManifest(mediaType)

/** Layers that may not be passed on may be missing: an archive can be made without them. */
async function requireAll(
  ctx: Context,
  content: Store,
  { digest: manifest }: Descriptor,
  children: readonly ManifestEntry[],
): Promise<void> {
  for (const { digest, mediaType } of children) {
    if (isNonDistributable(mediaType)) continue
    try {
      await content.info(ctx, digest)
    } catch (err) {
      if (!hasCode(err, 'not_found')) throw err
      throw notFound(
        `the archive does not hold all of the image: ${digest} of ${manifest} is missing`,
        { cause: err },
      )
    }
  }
}
