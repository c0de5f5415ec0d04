import type { LayerBlob, LayerVerdict } from '#doctor/layer/check-layer.ts'
import type { WhiteoutStyle } from '#doctor/layer/expected-tree.ts'
import type { Algorithm } from '#lib/digest/digest.ts'
import type { ErrorOnWire } from '#plugins/diff/walking/jobs.ts'

/*
 * What the main thread asks of its workers, which have one job at a time:
 *
 *     main ── Job ──────► worker      reads, hashes, compares, unpacks
 *     main ◄── Outcome ── worker
 */

/** Hash a file. */
export interface HashJob {
  readonly kind: 'hash'
  readonly path: string
  readonly algorithm: Algorithm
}

export interface Hashed {
  readonly digest: string
  readonly size: number
}

/** Compare a directory with the layers it was made from. */
export interface CheckJob {
  readonly kind: 'check'
  readonly blobs: readonly LayerBlob[]
  readonly directory: string
  readonly whiteouts: WhiteoutStyle
}

/** Unpack a layer into an empty directory, durably. */
export interface UnpackJob {
  readonly kind: 'unpack'
  readonly blob: LayerBlob
  readonly directory: string
  /** Directories of the layers below, nearest first; absent for a tree that has them in it. */
  readonly lowers?: readonly string[] | undefined
}

export type Job = HashJob | CheckJob | UnpackJob

/** What each job gives. */
export interface Results {
  readonly hash: Hashed
  readonly check: LayerVerdict
  readonly unpack: Hashed
}

export type Result = Results[keyof Results]

/** A job, and where to count the bytes that are read. */
export interface Task {
  readonly job: Job
  readonly counter: BigInt64Array
}

export type Outcome = { readonly result: Result } | { readonly error: ErrorOnWire }
