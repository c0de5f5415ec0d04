import type { Labels } from '#core/labels/labels.ts'
import type { Info } from '#core/snapshots/snapshotter.ts'
import type { Bucket, ReadBucket } from '#lib/bolt/database.ts'
import { notFound } from '#lib/errors/errors.ts'

import { keys } from './schema.ts'
import { type Times, readLabels, readText, readTimes, writeLabels, writeTimes } from './fields.ts'

/** What the database knows of a snapshot. */
export interface SnapshotRecord extends Times {
  readonly key: string
  /** Its name in the backend. */
  readonly name: string
  /** Key of the parent in the same namespace; empty for none. */
  readonly parent: string
  readonly labels: Labels
}

export const readSnapshot = (bucket: ReadBucket, key: string): SnapshotRecord => ({
  key,
  name: readText(bucket, 'name'),
  parent: readText(bucket, 'parent'),
  labels: readLabels(bucket),
  ...readTimes(bucket),
})

/**
 * Writes a new record among `snapshots`, and links it to its parent.
 *
 * @throws `not_found` when the parent is not there.
 */
export function writeSnapshot(snapshots: Bucket, record: SnapshotRecord): void {
  const bucket = snapshots.createBucket(record.key)
  if (record.parent !== '') {
    const parent = snapshots.bucket(record.parent)
    if (!parent) throw missingParent(record.parent)
    parent.createBucketIfNotExists('children').put(record.key, '')
    bucket.put('parent', record.parent)
  }
  writeTimes(bucket, record)
  writeLabels(bucket, record.labels)
  bucket.put('name', record.name)
}

/** Takes a snapshot out of the children of its parent, if that is still there. */
export function unlinkChild(snapshots: Bucket, parent: string, child: string): void {
  if (parent !== '') snapshots.bucket(parent)?.bucket('children')?.delete(child)
}

/**
 * Whether a snapshot is the parent of another one. containerd's collector leaves children that it
 * removed in the list of their parent.
 */
export function hasChild(snapshots: ReadBucket, bucket: ReadBucket, key: string): boolean {
  for (const child of keys(bucket.bucket('children'))) {
    const record = snapshots.bucket(child)
    if (record && readText(record, 'parent') === key) return true
  }
  return false
}

/** What a client sees: kind from the backend, the rest from the record. */
export const merged = (info: Info, record: SnapshotRecord): Info => ({
  kind: info.kind,
  name: record.key,
  parent: record.parent,
  labels: { ...info.labels, ...record.labels },
  createdAt: record.createdAt,
  updatedAt: record.updatedAt,
})

export const missingSnapshot = (key: string): Error => notFound(`snapshot ${key} does not exist`)
export const missingParent = (key: string): Error =>
  notFound(`parent snapshot ${key} does not exist`)
