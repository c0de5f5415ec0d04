import { createHash } from 'node:crypto'
import { type MessagePort, parentPort } from 'node:worker_threads'

import { checkLayer } from '#doctor/layer/check-layer.ts'
import { applyLayer } from '#plugins/diff/walking/apply-layer.ts'
import { toWire } from '#plugins/diff/walking/jobs.ts'
import { readFilePieces } from '#plugins/diff/walking/read-file.ts'
import { inUserNamespace } from '#plugins/diff/walking/user-namespace.ts'

import type { HashJob, Hashed, Outcome, Result, Task, UnpackJob } from './jobs.ts'

/* A worker thread of the doctor. It blocks as long as it likes. */

/** How many files of a layer are told of in words; a report for people shows fewer. */
const told = 1000
/** Larger reads than those of an unpacking: nothing else runs beside them. */
const hashPiece = 1 << 20

type Count = (bytes: number) => void

async function run({ job, counter }: Task): Promise<Result> {
  const count: Count = (bytes) => void Atomics.add(counter, 0, BigInt(bytes))
  if (job.kind === 'hash') return hash(job, count)
  if (job.kind === 'unpack') return await unpack(job, count)
  return await checkLayer({ ...job, told, onRead: count })
}

function hash({ path, algorithm }: HashJob, count: Count): Hashed {
  const state = createHash(algorithm)
  let size = 0
  for (const piece of readFilePieces(path, hashPiece)) {
    state.update(piece)
    size += piece.length
    count(piece.length)
  }
  return { digest: `${algorithm}:${state.digest('hex')}`, size }
}

async function unpack({ blob, directory, lowers }: UnpackJob, count: Count): Promise<Hashed> {
  const overlay = lowers && { lowers, userxattr: inUserNamespace() }
  const pieces = function* (): Generator<Uint8Array> {
    for (const piece of readFilePieces(blob.path)) {
      count(piece.length)
      yield piece
    }
  }
  const target = { path: directory, overlay }
  return await applyLayer(pieces(), target, { compressed: blob.compressed, check: () => {} })
}

function serve(port: MessagePort): void {
  port.on('message', (task: Task) => {
    run(task).then(
      (result) => port.postMessage({ result } satisfies Outcome),
      (err: unknown) => port.postMessage({ error: toWire(err) } satisfies Outcome),
    )
  })
}

if (parentPort) serve(parentPort)
