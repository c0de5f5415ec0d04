import { type MessagePort, parentPort } from 'node:worker_threads'

import type { ComingBlob } from '#core/diff/diff.ts'

import type { ExtractTarget } from './extractor.ts'
import { applyLayer, type ApplyLayerOptions, type LayerResult } from './apply-layer.ts'
import { compareTrees } from './compare-trees.ts'
import {
  type ApplyJob,
  type CompareJob,
  type Job,
  type JobResult,
  type Outcome,
  type Processing,
  toWire,
} from './jobs.ts'
import { mountTemporarily, openTarget, readOnly } from './mounted.ts'
import { pulledPieces, pushingOutput } from './piece-port.ts'
import { ProcessedLayer } from './processed.ts'
import { readComingPieces } from './read-coming.ts'
import { readFilePieces } from './read-file.ts'

/*
 * A worker thread of the differ. It blocks as long as it likes: the files of a layer are made by
 * synchronous calls, which are the fastest there are.
 */

/** More than any tool fills the end of an archive up with, in bytes. */
const maxTrailing = 256 << 20

async function run(job: Job): Promise<JobResult> {
  const check = (): void => {
    if (Atomics.load(job.cancelled, 0) !== 0) throw new Error('cancelled')
  }
  return job.kind === 'apply' ? await apply(job, check) : await compare(job, check)
}

async function apply(job: ApplyJob, check: () => void): Promise<JobResult> {
  const began = now()
  let unpacked = began
  const onUnpacked = (): void => void (unpacked = now())
  using opened = openTarget(job.mounts, job)
  const { target } = opened
  const result = await applyBlob(job, target, { check, onUnpacked, limits: job.limits })
  const extract = { name: 'inflate and extract', from: began, to: unpacked }
  const left = [...(target.overlay?.left ?? [])]
  const unsettled = left.length > 0 ? { upper: target.path, left } : undefined
  return { ...result, unsettled, stages: [extract, { name: 'syncfs', from: unpacked, to: now() }] }
}

const now = (): number => performance.timeOrigin + performance.now()

type Hooks = Pick<ApplyLayerOptions, 'check' | 'onUnpacked' | 'limits'>

async function applyBlob(job: ApplyJob, target: ExtractTarget, hooks: Hooks): Promise<LayerResult> {
  const { blob, processing, compressed } = job
  if (isComing(blob)) {
    return await applyLayer(readComingPieces(blob, hooks.check), target, { compressed, ...hooks })
  }
  if (processing) return await applyProcessed({ ...job, blob, processing }, target, hooks)
  const pieces = typeof blob === 'string' ? readFilePieces(blob) : pulledPieces(blob)
  return await applyLayer(pieces, target, { compressed, ...hooks })
}

const isComing = (blob: ApplyJob['blob']): blob is ComingBlob =>
  typeof blob === 'object' && 'there' in blob

interface ProcessedJob extends ApplyJob {
  readonly blob: string | MessagePort
  readonly processing: Processing
}

async function applyProcessed(
  job: ProcessedJob,
  target: ExtractTarget,
  hooks: Hooks,
): Promise<LayerResult> {
  using cancelled = cancellation(job.cancelled)
  using layer = new ProcessedLayer(job.blob, job.processing)
  try {
    const { compressed } = job
    return await applyLayer(layer.pieces(cancelled.signal), target, {
      compressed,
      maxTrailing,
      ...hooks,
    })
  } catch (err) {
    if (cancelled.signal.aborted) throw err
    throw await layer.explain(err)
  }
}

/** A signal that aborts when `flag` becomes 1, for what waits without asking. */
function cancellation(flag: Int32Array): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController()
  void abortOn(flag, controller)
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => void Atomics.notify(flag, 0),
  }
}

async function abortOn(flag: Int32Array, controller: AbortController): Promise<void> {
  await Atomics.waitAsync(flag, 0, 0).value
  if (Atomics.load(flag, 0) !== 0) controller.abort(new Error('cancelled'))
}

async function compare(job: CompareJob, check: () => void): Promise<JobResult> {
  using lower = mountTemporarily(job.lower, job.tempDir)
  using upper = mountTemporarily(readOnly(job.upper), job.tempDir)
  return await compareTrees(lower.path, upper.path, {
    compression: job.compression,
    latestTime: job.latestTime,
    write: pushingOutput(job.output),
    check,
  })
}

function serve(port: MessagePort): void {
  port.on('message', (job: Job) => {
    run(job).then(
      (result) => port.postMessage({ result } satisfies Outcome),
      (err: unknown) => port.postMessage({ error: toWire(err) } satisfies Outcome),
    )
  })
}

if (parentPort) serve(parentPort)
