import { existsSync } from 'node:fs'
import { join } from 'node:path'

import type { Labels } from '#core/labels/labels.ts'
import { digestFault, parseDigest } from '#lib/digest/digest.ts'

/** Set by whoever unpacks a layer: the name of the snapshot to come, and the layer's digest uncompressed. */
const refLabel = 'containerd.io/snapshot.ref'
const diffIdLabel = 'containerd.io/snapshot/diff-id'

/**
 * The image that somebody has made of a layer, in one of `dirs`; undefined when there is none, or the
 * snapshot is not to be of a layer.
 *
 *     <dir>/<algorithm>/<first two digits>/<digits>.erofs
 *
 * Source: upstream `internal/erofsutils`.
 */
export function cachedImage(dirs: readonly string[], labels: Labels): string | undefined {
  const diffId = labels[diffIdLabel] ?? ''
  if (!labels[refLabel] || digestFault(diffId) !== undefined) return undefined
  const { algorithm, hex } = parseDigest(diffId)
  const name = join(algorithm, hex.slice(0, 2), `${hex}.erofs`)
  return dirs.map((dir) => join(dir, name)).find((path) => existsSync(path))
}
