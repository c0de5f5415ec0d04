import assert from 'node:assert/strict'
import { closeSync, mkdtempDisposableSync, openSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { isInMemory, unwritten } from '#testing/unwritten.ts'

import { SyncAhead } from './sync-ahead.ts'

const fileBytes = 1 << 20

suite('a tree on its way to the disk', () => {
  test('is there, as far as it has grown, without a sync at the end', async (t) => {
    using dir = mkdtempDisposableSync(join(tmpdir(), 'ahead-'))
    if (isInMemory(dir.path)) return t.skip('needs a temporary directory on a disk')
    using open = new DisposableStack()
    const files: number[] = []
    {
      await using disk = new SyncAhead(dir.path)
      for (let n = 0; n < 16; n++) {
        const fd = open.adopt(openSync(join(dir.path, String(n)), 'w+'), closeSync)
        writeSync(fd, Buffer.alloc(fileBytes, n))
        files.push(fd)
        disk.grown((n + 1) * fileBytes)
      }
    }
    const left = files.map(unwritten)
    if (left.includes(undefined)) return t.skip('needs a kernel with cachestat(2)')
    assert.deepEqual(
      left.filter((bytes) => bytes !== 0),
      [],
    )
  })

  test('is there to its end after the sync', async (t) => {
    using dir = mkdtempDisposableSync(join(tmpdir(), 'ahead-'))
    if (isInMemory(dir.path)) return t.skip('needs a temporary directory on a disk')
    using open = new DisposableStack()
    const fd = open.adopt(openSync(join(dir.path, 'file'), 'w+'), closeSync)
    await using disk = new SyncAhead(dir.path)
    writeSync(fd, Buffer.alloc(fileBytes))
    disk.grown(fileBytes)
    await disk.sync()
    const left = unwritten(fd)
    if (left === undefined) return t.skip('needs a kernel with cachestat(2)')
    assert.equal(left, 0)
  })
})
