import { existsSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'

import type { Mount } from '#core/mount/mount.ts'
import { unimplemented } from '#lib/errors/errors.ts'

/** What the erofs snapshotter puts beside the files of an active snapshot; see its `files.ts`. */
const marker = '.erofslayer'
const image = 'layer.erofs'

/**
 * Where the image of an active snapshot of the erofs snapshotter goes, as its mounts tell.
 *
 * @throws `unimplemented` for the mounts of another snapshotter.
 */
export function layerPlace(mounts: readonly Mount[]): string {
  const dir = snapshotDir(mounts)
  if (dir !== undefined && existsSync(join(dir, marker))) return join(dir, image)
  throw unimplemented('an erofs layer goes into a snapshot of the erofs snapshotter only')
}

function snapshotDir(mounts: readonly Mount[]): string | undefined {
  const [first, last] = [mounts[0], mounts.at(-1)]
  if (!first || !last) return undefined
  // The file that takes what is written comes first, and is always of the snapshot itself.
  if (first.type.startsWith('mkfs/')) return dirname(first.source)
  const type = basename(last.type)
  if (type === 'bind' || type === 'erofs') return dirname(last.source)
  const upper = last.options.findLast((option) => option.startsWith('upperdir='))
  return type === 'overlay' && upper ? dirname(upper.slice('upperdir='.length)) : undefined
}
