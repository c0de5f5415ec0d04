/**
 * What is where in `meta.db`. Source: upstream `core/metadata/buckets.go`.
 *
 *     v1
 *     ├─ version                                   4, as a varint
 *     └─ <namespace>
 *        ├─ labels/<key>                           text
 *        ├─ images/<name>
 *        │  ├─ createdat, updatedat, labels/, annotations/
 *        │  └─ target/  digest, mediatype, size
 *        ├─ containers/<id>
 *        │  ├─ createdat, updatedat, labels/, image, snapshotter, snapshotKey, sandboxid
 *        │  ├─ spec                                google.protobuf.Any
 *        │  ├─ runtime/  name, options             Any
 *        │  └─ extensions/<name>                   Any
 *        ├─ snapshots/<snapshotter>/<key>
 *        │  ├─ createdat, updatedat, labels/, parent
 *        │  ├─ name                                `<namespace>/<sequence>/<key>` in the backend
 *        │  └─ children/<key>                      empty
 *        ├─ content
 *        │  ├─ blob/<digest>/  createdat, updatedat, labels/, size
 *        │  └─ ingests/<ref>
 *        │     ├─ ref                              `<namespace>/<sequence>/<ref>` in the backend
 *        │     ├─ expireat                         when no lease holds it
 *        │     └─ expected                         digest of a blob it shares with the backend
 *        ├─ sandboxes/<id>
 *        │  ├─ createdat, updatedat, labels/, sandboxer
 *        │  ├─ spec                                google.protobuf.Any
 *        │  ├─ runtime/  name, options             Any
 *        │  └─ extensions/<name>                   Any
 *        └─ leases/<id>
 *           ├─ createdat, labels/
 *           ├─ content/<digest>, ingests/<ref>, images/<name>        empty
 *           └─ snapshots/<snapshotter>/<key>                         empty
 *
 * Times are Go's 15 bytes, sizes are signed varints. A label with an empty value is not written.
 * Sequences belong to the bucket they number: the snapshotter's, and the ingest's own.
 */
import type { Bucket, ReadBucket } from '#lib/bolt/database.ts'

/** The one bucket at the root of a current database. */
export const schemaVersion = 'v1'
/** What `version` says in a database that this program writes. */
export const databaseVersion = 4

export const labelsOf = (ns: string): string[] => [schemaVersion, ns, 'labels']
export const imagesOf = (ns: string): string[] => [schemaVersion, ns, 'images']
export const containersOf = (ns: string): string[] => [schemaVersion, ns, 'containers']
export const blobsOf = (ns: string): string[] => [schemaVersion, ns, 'content', 'blob']
export const ingestsOf = (ns: string): string[] => [schemaVersion, ns, 'content', 'ingests']
export const sandboxesOf = (ns: string): string[] => [schemaVersion, ns, 'sandboxes']
export const leasesOf = (ns: string): string[] => [schemaVersion, ns, 'leases']
export const snapshotsOf = (ns: string, snapshotter: string): string[] => [
  schemaVersion,
  ns,
  'snapshots',
  snapshotter,
]

/** The bucket at `path` below `bucket`; undefined when there is none. */
export function find(bucket: Bucket, path: readonly string[]): Bucket | undefined
export function find(bucket: ReadBucket, path: readonly string[]): ReadBucket | undefined
export function find(bucket: ReadBucket, path: readonly string[]): ReadBucket | undefined {
  let at: ReadBucket | undefined = bucket
  for (const key of path) {
    // An empty key is never there, and is no key to the database.
    if (key === '') return undefined
    at = at?.bucket(key)
  }
  return at
}

/** The bucket at `path` below `bucket`, made if it is not there. */
export function make(bucket: Bucket, path: readonly string[]): Bucket {
  let at = bucket
  for (const key of path) at = at.createBucketIfNotExists(key)
  return at
}

/** The buckets directly in `bucket`, by name. */
export function* buckets(bucket: ReadBucket | undefined): Generator<[string, ReadBucket]> {
  if (!bucket) return
  for (const [key, inner] of bucket.buckets()) yield [decodeText(key), inner]
}

/** The keys of `bucket`, of pairs and of buckets. */
export function* keys(bucket: ReadBucket | undefined): Generator<string> {
  if (bucket) for (const { key } of bucket.entries()) yield decodeText(key)
}

/** Whether nothing is in `bucket`, or it is not there at all. */
export const isEmpty = (bucket: ReadBucket | undefined): boolean =>
  keys(bucket).next().done === true

/** The name of something in its backend. */
export const backendName = (ns: string, sequence: bigint, name: string): string =>
  `${ns}/${sequence}/${name}`

/** UTF-8 bytes as text. */
export const decodeText = (bytes: Uint8Array): string =>
  Buffer.isBuffer(bytes)
    ? bytes.toString('utf8')
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8')
