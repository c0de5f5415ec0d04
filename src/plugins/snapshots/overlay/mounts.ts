import { join } from 'node:path'

import type { Mount } from '#core/mount/mount.ts'
import type { Snapshot } from '#core/snapshots/storage/storage.ts'

/** Where the files of a snapshot are: its changes to what is below, and overlayfs's own scratch. */
export const upperDir = (dir: string): string => join(dir, 'fs')
export const workDir = (dir: string): string => join(dir, 'work')

/** What mounts are made from. */
export interface MountSource {
  readonly snapshot: Snapshot
  /** The directory of a snapshot. */
  readonly dirOf: (id: string) => string
  /** Added to overlay mounts. */
  readonly options: readonly string[]
  /** Whose files those below are; first of all options. */
  readonly mapping: readonly string[]
}

/** How to mount a snapshot: one layer alone by a bind mount, several by overlayfs. */
export function snapshotMounts(given: MountSource): readonly Mount[] {
  const { dirOf, mapping, options } = given
  const { id, info, parentIds } = given.snapshot
  const active = info.kind === 'active'
  const [below, ...others] = parentIds
  const bind = (source: string, access: 'rw' | 'ro'): readonly Mount[] => [
    { type: 'bind', source, options: [...mapping, access, 'rbind'] },
  ]
  if (below === undefined) return bind(upperDir(dirOf(id)), active ? 'rw' : 'ro')
  if (!active && others.length === 0) return bind(upperDir(dirOf(below)), 'ro')
  const writable = [`workdir=${workDir(dirOf(id))}`, `upperdir=${upperDir(dirOf(id))}`]
  const lower = parentIds.map((parent) => upperDir(dirOf(parent))).join(':')
  return [
    {
      type: 'overlay',
      source: 'overlay',
      options: [...mapping, ...(active ? writable : []), `lowerdir=${lower}`, ...options],
    },
  ]
}
