import { join } from 'node:path'

import { getInfo, type StoredSnapshot } from '#core/snapshots/storage/storage.ts'
import { upperDir } from '#plugins/snapshots/overlay/mounts.ts'
import type { Database } from '#lib/bolt/database.ts'
import { decodeText } from '#core/metadata/schema.ts'
import { describe } from '#lib/errors/errors.ts'

import type { SnapshotterPlace } from './places.ts'

/** What a snapshotter has, by its own records. */
export interface Backend {
  readonly place: SnapshotterPlace
  readonly database: Database
  readonly byName: ReadonlyMap<string, StoredSnapshot>
  readonly unreadable: readonly { readonly name: string; readonly why: string }[]
  /** Whether every record was seen. If not, what has none must not be taken for garbage. */
  readonly complete: boolean
}

export function readBackend(
  place: SnapshotterPlace,
  { database, whole }: { readonly database: Database; readonly whole: boolean },
): Backend {
  const byName = new Map<string, StoredSnapshot>()
  const unreadable: { name: string; why: string }[] = []
  const complete = database.view((tx) => {
    const snapshots = tx.bucket('v1')?.bucket('snapshots')
    try {
      for (const [key] of snapshots?.buckets() ?? []) {
        const name = decodeText(key)
        try {
          byName.set(name, getInfo(tx, name))
        } catch (err) {
          unreadable.push({ name, why: describe(err) })
        }
      }
      return whole && unreadable.length === 0
    } catch (err) {
      unreadable.push({ name: '', why: describe(err) })
      return false
    }
  })
  return { place, database, byName, unreadable, complete }
}

export const snapshotsDirectory = ({ root }: SnapshotterPlace): string => join(root, 'snapshots')

/** The directory of the snapshot with that id. */
export const directoryOf = (place: SnapshotterPlace, id: string): string =>
  join(snapshotsDirectory(place), id)

/** Where the files of the snapshot with that id are. */
export const filesOf = (place: SnapshotterPlace, id: string): string => {
  const directory = directoryOf(place, id)
  return place.name === 'overlayfs' ? upperDir(directory) : directory
}

/** The snapshot and all below it, nearest first, as far as there are records of them. */
export function chainOf(backend: Backend, name: string): readonly StoredSnapshot[] {
  const chain: StoredSnapshot[] = []
  const seen = new Set<string>()
  for (let next = name; next !== '' && !seen.has(next); ) {
    seen.add(next)
    const snapshot = backend.byName.get(next)
    if (!snapshot) break
    chain.push(snapshot)
    next = snapshot.info.parent
  }
  return chain
}
