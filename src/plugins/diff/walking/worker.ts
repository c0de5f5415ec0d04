import { type MessagePort, parentPort } from 'node:worker_threads'

import { applyLayer } from './apply-layer.ts'
import { compareTrees } from './compare-trees.ts'
import {
  type ApplyJob,
  type CompareJob,
  type Job,
  type JobResult,
  type Outcome,
  toWire,
} from './jobs.ts'
import { mountTemporarily, openTarget, readOnly } from './mounted.ts'
import { pulledPieces, pushingOutput } from './piece-port.ts'
import { readFilePieces } from './read-file.ts'

/*
 * A worker thread of the differ. It blocks as long as it likes: the files of a layer are made by
 * synchronous calls, which are the fastest there are.
 */

async function run(job: Job): Promise<JobResult> {
  const check = (): void => {
    if (Atomics.load(job.cancelled, 0) !== 0) throw new Error('cancelled')
  }
  return job.kind === 'apply' ? await apply(job, check) : await compare(job, check)
}

async function apply(job: ApplyJob, check: () => void): Promise<JobResult> {
  using opened = openTarget(job.mounts, job.tempDir)
  const pieces = typeof job.blob === 'string' ? readFilePieces(job.blob) : pulledPieces(job.blob)
  return await applyLayer(pieces, opened.target, { compressed: job.compressed, check })
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
