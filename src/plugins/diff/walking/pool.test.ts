import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { tmpdir } from 'node:os'

import { newContext } from '#testing/context.ts'

import { WorkerPool } from './pool.ts'

const missing = {
  kind: 'apply',
  blob: '/no/such/blob',
  compressed: false,
  mounts: [{ type: 'bind', source: '/no/such/dir', options: [] }],
  processing: undefined,
} as const

test('a worker that ended while it was idle is replaced', { timeout: 60_000 }, async (t) => {
  // Once for each job that has ended: its worker is idle then.
  const { mock } = t.mock.method(Worker.prototype, 'unref')
  await using pool = new WorkerPool({ workers: 1, tempDir: tmpdir() })
  const ctx = newContext(t)
  const failure = { code: 'ENOENT' }
  await assert.rejects(pool.run(ctx, missing), failure)
  const worker = mock.calls[0]?.this
  assert.ok(worker instanceof Worker)
  await worker.terminate()
  await assert.rejects(pool.run(ctx, missing), failure)
  assert.notEqual(mock.calls[1]?.this, worker)
})
