import type { MessagePort } from 'node:worker_threads'

import type { ComingBlob } from '#core/diff/diff.ts'
import type { Mount } from '#core/mount/mount.ts'
import { CodedError, type ErrorCode, resourceExhausted } from '#lib/errors/errors.ts'
import { isFull } from '#lib/fs/has-errno.ts'
import { systemError } from '#sys/errno.ts'

import type { LayerLimits } from './limits.ts'
import type { Unsettled } from './settle.ts'

/*
 * What the main thread and a worker say to each other. A worker has one job at a time:
 *
 *     main ── Job ──────────────────────────► worker
 *     main ◄── pull ── piece ──► … (port)     apply, when the blob is no file
 *     worker ── exec ──► stream processors     apply, when the blob is processed
 *     main ◄── piece ── taken ──► … (port)    compare
 *     main ◄── Outcome ────────────────────── worker
 */

interface AnyJob {
  /** Where file systems are mounted that nothing else needs. */
  readonly tempDir: string
  /** One number in shared memory; 1 asks the worker to stop. */
  readonly cancelled: Int32Array
}

/** A program that turns a layer into another, as `StreamProcessor`, and what it is given. */
export interface ProcessorStep {
  readonly id: string
  readonly path: string
  readonly args: readonly string[]
  readonly env: readonly string[]
  /** Media type of what it is given. */
  readonly mediaType: string
  /** A `google.protobuf.Any` in its wire form. */
  readonly payload?: Uint8Array | undefined
}

/** The programs that a layer goes through. */
export interface Processing {
  readonly steps: readonly ProcessorStep[]
  /** How long they may make nothing, in ms; 0 for ever. */
  readonly idleMs: number
}

/** Unpack a layer. */
export interface ApplyJob extends AnyJob {
  readonly kind: 'apply'
  /** The file of the blob, or where its pieces come from. One that still comes is not processed. */
  readonly blob: string | MessagePort | ComingBlob
  /** What comes first, before it is decompressed. */
  readonly processing?: Processing | undefined
  readonly compressed: boolean
  readonly mounts: readonly Mount[]
  /** What is below will be put there later: to need it is an error. */
  readonly alone?: boolean
  /** But not directories that the layer leaves out. */
  readonly settles?: boolean | undefined
  readonly limits?: LayerLimits
}

/** Make a layer. */
export interface CompareJob extends AnyJob {
  readonly kind: 'compare'
  readonly lower: readonly Mount[]
  readonly upper: readonly Mount[]
  readonly compression: 'none' | 'gzip' | 'zstd'
  /** Times after this one, in nanoseconds since the epoch, become this one. */
  readonly latestTime?: bigint | undefined
  /** Where the pieces of the layer go. */
  readonly output: MessagePort
}

export type Job = ApplyJob | CompareJob

/** The uncompressed layer. */
export interface JobResult {
  readonly digest: string
  readonly size: number
  readonly unsettled?: Unsettled | undefined
  readonly stages?: readonly Stage[]
}

/** A part of a job that is done. Times in ms since the epoch. */
export interface Stage {
  readonly name: string
  readonly from: number
  readonly to: number
}

/** An error on its way between threads, which would lose all but its text otherwise. */
export interface ErrorOnWire {
  readonly message: string
  readonly coded?: ErrorCode | undefined
  readonly system?:
    | {
        readonly errno: number
        readonly syscall: string
        readonly path?: string | undefined
        readonly dest?: string | undefined
      }
    | undefined
}

export type Outcome = { readonly result: JobResult } | { readonly error: ErrorOnWire }

/** `err` for the other thread. */
export function toWire(err: unknown): ErrorOnWire {
  if (err instanceof SuppressedError) return toWire(err.suppressed)
  if (err instanceof CodedError) return { message: err.message, coded: err.code }
  if (!(err instanceof Error)) return { message: String(err) }
  if (!('syscall' in err && 'errno' in err)) return { message: err.message }
  const { errno, syscall } = err
  if (typeof errno !== 'number' || typeof syscall !== 'string') return { message: err.message }
  const path = 'path' in err && typeof err.path === 'string' ? err.path : undefined
  const dest = 'dest' in err && typeof err.dest === 'string' ? err.dest : undefined
  return { message: err.message, system: { errno, syscall, path, dest } }
}

/** The error that the other thread had; a full disk or quota is `resource_exhausted`. */
export function fromWire({ message, coded, system }: ErrorOnWire): Error {
  if (coded) return new CodedError(coded, message)
  if (!system) return new Error(message)
  const err = systemError(-system.errno, system.syscall, system)
  return isFull(err) ? resourceExhausted(err.message, { cause: err }) : err
}
