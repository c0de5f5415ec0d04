import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  closeSync,
  mkdirSync,
  mkdtempDisposableSync,
  openSync,
  readdirSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'

import { newContext } from '#testing/context.ts'
import { entryBytes, file } from '#testing/layer-archive.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { root } from '#testing/root.ts'

import { WorkerPool } from './pool.ts'

const missing = {
  kind: 'apply',
  blob: '/no/such/blob',
  compressed: false,
  mounts: [{ type: 'bind', source: '/no/such/dir', options: [] }],
  processing: undefined,
} as const

test('a layer that takes too much memory ends its worker, and not the daemon', {
  timeout: 60_000,
}, async (t) => {
  if (!root(t)) return
  using dir = mkdtempDisposableSync(join(tmpdir(), 'pool-'))
  const tempDir = join(dir.path, 'mounts')
  mkdirSync(tempDir)
  const blob = join(dir.path, 'blob')
  const deep = Array.from({ length: 15 }, () => 'd'.repeat(250)).join('/')
  const fd = openSync(blob, 'w')
  for (let i = 0; i < 12_000; i++) writeSync(fd, entryBytes(file(`${deep}/${i}`)))
  closeSync(fd)
  await using pool = new WorkerPool({ workers: 1, tempDir, heapMb: 24 })
  const ctx = newContext(t)
  const mounts = [{ type: 'tmpfs', source: 'tmpfs', options: [] }]
  const layer = { kind: 'apply', blob, compressed: false, mounts } as const
  await rejectsWith('resource_exhausted', pool.run(ctx, layer), /more memory/)
  assert.deepEqual(readdirSync(tempDir), [])
  await assert.rejects(pool.run(ctx, missing), { code: 'ENOENT' })
})

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
