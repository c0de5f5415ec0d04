import type { Bucket, Entry, Key } from '#lib/bolt/database.ts'

import { decodeText } from './schema.ts'

/** Told where something is about to be written: the names of the buckets, and of what is in the last. */
export type Trace = (path: readonly string[]) => void

/** A bucket that tells where it is written to, as do the buckets in it. */
export class TracedBucket implements Bucket {
  readonly #inner: Bucket
  readonly #path: readonly string[]
  readonly #trace: Trace

  constructor(inner: Bucket, trace: Trace, path: readonly string[] = []) {
    this.#inner = inner
    this.#path = path
    this.#trace = trace
  }

  get sequence(): bigint {
    return this.#inner.sequence
  }

  get(key: Key): Uint8Array | undefined {
    return this.#inner.get(key)
  }

  entries(from?: Key): Iterable<Entry> {
    return this.#inner.entries(from)
  }

  bucket(key: Key): Bucket | undefined {
    const bucket = this.#inner.bucket(key)
    return bucket && this.#in(key, bucket)
  }

  *buckets(): Generator<readonly [name: Uint8Array, bucket: Bucket]> {
    for (const [name, bucket] of this.#inner.buckets()) yield [name, this.#in(name, bucket)]
  }

  put(key: Key, value: Uint8Array | string): void {
    this.#tell(key)
    this.#inner.put(key, value)
  }

  delete(key: Key): void {
    this.#tell(key)
    this.#inner.delete(key)
  }

  createBucket(key: Key): Bucket {
    this.#tell(key)
    return this.#in(key, this.#inner.createBucket(key))
  }

  createBucketIfNotExists(key: Key): Bucket {
    this.#tell(key)
    return this.#in(key, this.#inner.createBucketIfNotExists(key))
  }

  deleteBucket(key: Key): void {
    this.#tell(key)
    this.#inner.deleteBucket(key)
  }

  nextSequence(): bigint {
    this.#trace(this.#path)
    return this.#inner.nextSequence()
  }

  setSequence(value: bigint): void {
    this.#trace(this.#path)
    this.#inner.setSequence(value)
  }

  #in(key: Key, bucket: Bucket): Bucket {
    return new TracedBucket(bucket, this.#trace, [...this.#path, textOf(key)])
  }

  #tell(key: Key): void {
    this.#trace([...this.#path, textOf(key)])
  }
}

const textOf = (key: Key): string => (typeof key === 'string' ? key : decodeText(key))
