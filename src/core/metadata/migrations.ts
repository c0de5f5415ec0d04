import type { Bucket, ReadBucket } from '#lib/bolt/database.ts'
import { decodeVarint, encodeVarint } from '#lib/go/varint.ts'

import { readText } from './fields.ts'
import { buckets, databaseVersion, find, schemaVersion } from './schema.ts'

/** Steps from one version to the next. Source: upstream `core/metadata/migrations.go`. */
const migrations: readonly ((tx: Bucket) => void)[] = [
  linkChildren,
  renameIngests,
  () => {}, // From boltdb to bbolt: the same format.
  moveSandboxes,
]

/** Whether a database is of this version or a newer one, which is left as it is. */
export function isCurrent(tx: ReadBucket): boolean {
  const schema = tx.bucket(schemaVersion)
  return schema !== undefined && versionOf(schema) >= databaseVersion
}

/** Brings an older or empty database to the current version. */
export function migrate(tx: Bucket): void {
  const schema = tx.bucket(schemaVersion)
  if (schema) for (const step of migrations.slice(versionOf(schema))) step(tx)
  tx.createBucketIfNotExists(schemaVersion).put('version', encodeVarint(databaseVersion))
}

function versionOf(schema: ReadBucket): number {
  const bytes = schema.get('version')
  return bytes ? Number(decodeVarint(bytes)) : 0
}

/** To 1: parents know their children. */
function linkChildren(tx: Bucket): void {
  for (const ns of namesIn(find(tx, [schemaVersion]))) {
    for (const snapshotter of namesIn(find(tx, [schemaVersion, ns, 'snapshots']))) {
      const snapshots = find(tx, [schemaVersion, ns, 'snapshots', snapshotter])
      const all = Array.from(buckets(snapshots), ([key, bucket]) => ({
        key,
        parent: readText(bucket, 'parent'),
      }))
      for (const { key, parent } of all) {
        const bucket = snapshots && find(snapshots, [parent])
        bucket?.createBucketIfNotExists('children').put(key, '')
      }
    }
  }
}

/** To 2: `ingest/<ref>` = name becomes `ingests/<ref>/ref` = name. */
function renameIngests(tx: Bucket): void {
  for (const ns of namesIn(find(tx, [schemaVersion]))) {
    const content = find(tx, [schemaVersion, ns, 'content'])
    const old = content?.bucket('ingest')
    if (!content || !old) continue
    const ingests = content.createBucketIfNotExists('ingests')
    for (const { key, value } of Array.from(old.entries())) {
      if (value) ingests.createBucketIfNotExists(key).put('ref', value)
    }
    content.deleteBucket('ingest')
  }
}

/** To 4: sandboxes move from the root into the schema, and nothing else stays at the root. */
function moveSandboxes(tx: Bucket): void {
  const schema = tx.createBucketIfNotExists(schemaVersion)
  const others = Array.from(buckets(tx)).filter(([name]) => name !== schemaVersion)
  for (const [ns, bucket] of others) {
    const sandboxes = bucket.bucket('sandboxes')
    if (sandboxes) {
      copy(sandboxes, schema.createBucketIfNotExists(ns).createBucketIfNotExists('sandboxes'))
    }
    tx.deleteBucket(ns)
  }
}

/** All at once, so that what is below may be written meanwhile. */
const namesIn = (bucket: ReadBucket | undefined): string[] =>
  Array.from(buckets(bucket), ([name]) => name)

/** Copies everything, and what is in it. */
function copy(from: ReadBucket, to: Bucket): void {
  for (const { key, value } of from.entries()) {
    const inner = value === undefined ? from.bucket(key) : undefined
    if (value) to.put(key, value)
    else if (inner) copy(inner, to.createBucketIfNotExists(key))
  }
}
