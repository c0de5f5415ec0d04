import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { hasCode, resourceExhausted } from '#lib/errors/errors.ts'
import { MemoryFile } from '#testing/memory-file.ts'

import { openFile } from './open.ts'

/** A file on a disk that can be full: what it has can be written again, and nothing more. */
class FullFile extends MemoryFile {
  full = false

  override async write(buf: Buffer, position: number): Promise<void> {
    if (this.full && position + buf.length > this.size()) throw resourceExhausted('full')
    await super.write(buf, position)
  }
}

const value = 'v'.repeat(3000)
const key = (n: number): string => `key-${String(n).padStart(5, '0')}`

suite('a database on a full disk', () => {
  for (const before of [0, 300]) {
    test(`takes no more than ${before} pairs and some, but all can be deleted`, async () => {
      const file = new FullFile()
      await using db = await openFile(file, { keepRoom: true })
      const put = async (n: number): Promise<void> =>
        await db.update((tx) => tx.createBucketIfNotExists('b').put(key(n), value))
      let count = 0
      for (; count <= before; count++) await put(count)
      file.full = true
      await assert.rejects(
        async () => {
          for (; ; count++) await put(count)
        },
        (err) => hasCode(err, 'resource_exhausted'),
      )
      // What takes no room is still possible: to change, and to delete.
      await put(count - 1)
      for (let n = 0; n < count; n += 20) {
        await db.update((tx) => {
          for (let at = n; at < n + 20; at++) tx.bucket('b')?.delete(key(at))
        })
      }
      assert.deepEqual(
        db.view((tx) => [...(tx.bucket('b')?.entries() ?? [])]),
        [],
      )
      await put(0)
    })
  }
})
