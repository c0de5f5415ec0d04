import type { Bucket, ReadBucket } from './database.ts'

/** The keys of a bucket, as text. */
export const keys = (bucket: ReadBucket | undefined): string[] =>
  [...(bucket?.entries() ?? [])].map(({ key }) => Buffer.from(key).toString())

/** `fn` on the bucket `b`, which is made when it is missing. */
export function inBucket<T>(fn: (bucket: Bucket) => T): (tx: Bucket) => T {
  return (tx) => fn(tx.createBucketIfNotExists('b'))
}
