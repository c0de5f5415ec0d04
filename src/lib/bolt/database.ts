/**
 * The contract of the key-value store that metadata lives in: bbolt's file format and its nested
 * buckets, with synchronous transactions.
 *
 * Reads (`view`) run on the last durable root and never wait. Writes (`update`) that arrive while a
 * commit is being flushed run together in the next one and share its flush; a function that throws
 * is undone and only its caller fails. No transaction spans an await.
 */
export interface Database extends AsyncDisposable {
  readonly path: string

  /** Changes with every commit: what was read at the same revision is the same. */
  readonly revision: number

  /** Runs `fn` on the last durable state. The transaction is dead when it returns. */
  view<T>(fn: (tx: ReadBucket) => T): T

  /** Holds on to the last durable state, for a reader that takes many turns. */
  pin(): PinnedState

  /**
   * Runs `fn` on the state of the commit being gathered, and resolves when that commit is durable.
   *
   * `fn` may run after a delay, and must be synchronous. When it throws, what it wrote is undone
   * and the promise rejects with its error; other functions of the same commit are not touched.
   */
  update<T>(fn: (tx: Bucket) => T, options?: { readonly signal?: AbortSignal }): Promise<T>
}

/**
 * A durable state that later commits leave as it is: the file grows instead of using its pages again.
 * It can be read until it is disposed of or the database is closed.
 */
export interface PinnedState extends Disposable {
  readonly root: ReadBucket
}

/** A key is bytes; a string stands for its UTF-8 form. */
export type Key = Uint8Array | string

/** One pair of a bucket. `value` is undefined when the key names a nested bucket. */
export interface Entry {
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
}

/** The reading half of a bucket; the root of the tree is one too. */
export interface ReadBucket {
  /** The value of `key`; undefined when it is missing or a bucket. Valid until the function ends: copy to keep. */
  get(key: Key): Uint8Array | undefined
  /** The nested bucket `key`; undefined when it is missing or a value. */
  bucket(key: Key): ReadBucket | undefined
  /** All pairs in key order, starting at the first key ≥ `from` when given. */
  entries(from?: Key): Iterable<Entry>
  /** The nested buckets with their names, in key order. */
  buckets(): Iterable<readonly [name: Uint8Array, bucket: ReadBucket]>
  /** The bucket's counter. */
  readonly sequence: bigint
}

/** A bucket inside `update`. Iterating while writing to the same bucket is not defined. */
export interface Bucket extends ReadBucket {
  bucket(key: Key): Bucket | undefined
  buckets(): Iterable<readonly [name: Uint8Array, bucket: Bucket]>
  /** @throws `invalid_argument` when the key is empty, too long, or names a bucket. */
  put(key: Key, value: Uint8Array | string): void
  /** Deletes a pair; nothing happens when it is missing. @throws `invalid_argument` when it is a bucket. */
  delete(key: Key): void
  /** @throws `already_exists` when there is one, `invalid_argument` when the key is a value. */
  createBucket(key: Key): Bucket
  createBucketIfNotExists(key: Key): Bucket
  /** @throws `not_found` when there is none. */
  deleteBucket(key: Key): void
  /** Advances the counter and returns it; the first is 1. */
  nextSequence(): bigint
  setSequence(value: bigint): void
}

/** How to open a file. */
export interface OpenOptions {
  readonly signal?: AbortSignal
  /** How long to wait for another process to release the file, in ms; 0 waits until `signal`. */
  readonly lockTimeoutMs?: number
  readonly readOnly?: boolean
  /** Acknowledge before data is durable. Faster, and a power cut can lose or damage the file. */
  readonly noSync?: boolean
  /** File mode when the file is created. */
  readonly mode?: number
  /**
   * Takes the lock of an open file without waiting (flock(2) with LOCK_NB), exclusive or shared;
   * false when another process holds it. Closing the file gives it back. Without this, no lock.
   */
  readonly lock?: (fd: number, exclusive: boolean) => boolean
  /**
   * Keep free pages in the file, with blocks behind them, so that deletes work on a full disk. File
   * systems that never write to the same place twice may refuse them all the same.
   */
  readonly keepRoom?: boolean
  /** How many bytes of pages to keep in memory; 64 MiB when missing. */
  readonly cacheBytes?: number
  /** For how long update functions may run on end before their commit is flushed, in ms; 2 when missing. */
  readonly gatherMs?: number
}
