import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { hasCode, resourceExhausted } from '#lib/errors/errors.ts'
import { MemoryFile } from '#testing/memory-file.ts'

import { openDatabase, openFile } from './open.ts'

const value = 'v'.repeat(3000)
const key = (n: number): string => `key-${String(n).padStart(5, '0')}`
const allocate = (): Promise<void> => Promise.resolve()

suite('a database on a full disk', () => {
  test('takes no more, but all of it can be deleted', async () => {
    const file = new MemoryFile()
    await using db = await openFile(file, { allocate })
    await db.update((tx) => void tx.createBucket('b'))
    file.failure = (kind) => (kind === 'truncate' ? resourceExhausted('full') : undefined)
    let count = 0
    const put = async (n: number): Promise<void> =>
      await db.update((tx) => tx.bucket('b')?.put(key(n), value))
    await assert.rejects(
      async () => {
        for (; ; count++) await put(count)
      },
      (err) => hasCode(err, 'resource_exhausted'),
    )
    // What takes no room is still possible: to change, and to delete, in any number.
    await put(count - 1)
    await db.update((tx) => {
      for (let n = 0; n < count; n += 2) tx.bucket('b')?.delete(key(n))
    })
    for (let n = 1; n < count; n += 2) await db.update((tx) => tx.bucket('b')?.delete(key(n)))
    assert.deepEqual([...db.view((tx) => [...(tx.bucket('b')?.entries() ?? [])])], [])
    await put(0)
  })

  test('is told by the name of the file', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'headroom-'))
    const path = join(dir.path, 'meta.db')
    const full = Object.assign(new Error('ENOSPC: no space left on device, fallocate'), {
      code: 'ENOSPC',
    })
    let room = true
    await using db = await openDatabase(path, {
      allocate: async () => {
        if (!room) await Promise.reject(full)
      },
    })
    room = false
    const large = Buffer.alloc(1 << 20)
    await assert.rejects(
      db.update((tx) => tx.createBucket('b').put('k', large)),
      {
        code: 'resource_exhausted',
        message: `write ${path}: no space left on device: resource exhausted`,
      },
    )
  })
})
