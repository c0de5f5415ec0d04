import type { Bucket } from '#lib/bolt/database.ts'

/** Numbers from `next` to `last` that the counter on disk is already past. */
export interface NumberBlock {
  readonly next: bigint
  readonly last: bigint
}

/** What is left of a block when the daemon ends is never used. */
const blockSize = 64n

/**
 * The numbers that keep names in a backend apart: the counter of a namespace's bucket, taken in blocks,
 * so that most names cost no write of their own. A number is given out only once the counter on disk
 * is past it: after a crash nobody gets it again, and the backend may still have what it named.
 */
export class SnapshotNumbers {
  readonly #blocks = new Map<string, NumberBlock>()

  /**
   * The next number; undefined when a block has to be taken first. `counter` is the one on disk: it
   * is behind the block if the bucket was deleted and made again.
   */
  take(namespace: string, counter: bigint): bigint | undefined {
    const block = this.#blocks.get(namespace)
    if (block === undefined || block.next > block.last || block.last > counter) return undefined
    this.#blocks.set(namespace, { ...block, next: block.next + 1n })
    return block.next
  }

  /** Gives the first number of a block whose write is durable, and keeps the others for `take`. */
  open(namespace: string, { next, last }: NumberBlock): bigint {
    this.#blocks.set(namespace, { next: next + 1n, last })
    return next
  }
}

/** Takes a block from the counter of `bucket`; to be opened once that is durable. */
export function takeBlock(bucket: Bucket): NumberBlock {
  const next = bucket.sequence + 1n
  const last = bucket.sequence + blockSize
  bucket.setSequence(last)
  return { next, last }
}
