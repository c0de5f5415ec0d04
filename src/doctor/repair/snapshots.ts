import { find, snapshotsOf } from '#core/metadata/schema.ts'
import { unlinkChild } from '#core/metadata/snapshot-record.ts'
import { readText } from '#core/metadata/fields.ts'

import { databaseOf, type Recorder } from './records.ts'

interface InSnapshotter {
  readonly namespace: string
  readonly snapshotter: string
}

/** Removes records of snapshots; what the backend has of them is garbage then. @returns how many. */
export async function dropSnapshots(
  exam: Recorder,
  { namespace, snapshotter, keys }: InSnapshotter & { readonly keys: readonly string[] },
): Promise<number> {
  return await databaseOf(exam).update((tx) => {
    const snapshots = find(tx, snapshotsOf(namespace, snapshotter))
    const there = keys.filter((key) => snapshots?.bucket(key))
    for (const key of there) {
      const record = snapshots?.bucket(key)
      if (!snapshots || !record) continue
      unlinkChild(snapshots, readText(record, 'parent'), key)
      snapshots.deleteBucket(key)
    }
    return there.length
  }, exam)
}

/** Takes snapshots that are not there off the list of those that stand on one. */
export async function forgetChildren(
  exam: Recorder,
  options: InSnapshotter & { readonly key: string; readonly children: readonly string[] },
): Promise<void> {
  const { namespace, snapshotter, key, children } = options
  await databaseOf(exam).update((tx) => {
    const list = find(tx, [...snapshotsOf(namespace, snapshotter), key, 'children'])
    for (const child of children) list?.delete(child)
  }, exam)
}
