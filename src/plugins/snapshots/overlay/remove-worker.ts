import { closeSync } from 'node:fs'
import { constants, setPriority } from 'node:os'
import { basename, dirname } from 'node:path'
import { type MessagePort, parentPort } from 'node:worker_threads'

import { describe } from '#lib/errors/errors.ts'
import { openRoot } from '#sys/resolve.ts'
import { removeTree } from '#sys/tree.ts'

import type { RemoveJob, Removed } from './remove-thread.ts'

/*
 * A thread of a remover. It removes one tree after the other by synchronous calls, which take less
 * than half of what they take one by one through the thread pool.
 */

/** @returns whether the tree is gone. */
function run({ path, cancelled, meeting }: RemoveJob): boolean {
  const check = (): void => {
    if (Atomics.load(cancelled, 0) !== 0) throw new Error('cancelled')
  }
  const dir = openRoot(dirname(path))
  try {
    return removeTree(dir, basename(path), { check, ...(meeting && { meeting }) })
  } finally {
    closeSync(dir)
  }
}

function serve(port: MessagePort): void {
  // Of this thread alone, in Linux: whoever calls the daemon goes before what is thrown away.
  setPriority(constants.priority.PRIORITY_BELOW_NORMAL)
  port.on('message', (job: RemoveJob) => {
    const { id } = job
    try {
      port.postMessage({ id, gone: run(job) } satisfies Removed)
    } catch (err) {
      port.postMessage({ id, gone: false, error: describe(err) } satisfies Removed)
    }
  })
}

if (parentPort) serve(parentPort)
