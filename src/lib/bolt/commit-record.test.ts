import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { afterKill, afterPowerCut, type FileStep, MemoryFile } from '#testing/memory-file.ts'
import { random } from '#testing/random.ts'

import { inBucket, keys } from './bucket.fixture.ts'
import { checkFile } from './check.ts'
import { followers, recordOffset } from './commit-record.ts'
import type { Database } from './database.ts'
import { type Meta, metaSize } from './meta.ts'
import { readMeta, readState } from './metas.ts'
import { openFile } from './open.ts'

const pageSize = 4096

const put = async (db: Database, key: string, value = ''): Promise<void> =>
  await db.update(inBucket((bucket) => bucket.put(key, value)))

const keysIn = (db: Database): string[] => db.view((tx) => keys(tx.bucket('b')))

async function keysOf(image: Buffer): Promise<string[]> {
  const { problems } = await checkFile(new MemoryFile(Buffer.from(image)))
  assert.deepEqual(
    problems.filter(({ kind }) => kind !== 'meta'),
    [],
  )
  await using db = await openFile(new MemoryFile(Buffer.from(image)), {})
  return keysIn(db)
}

const isMeta = (step: FileStep): boolean => step.kind === 'write' && step.data.length === metaSize

/** A file whose last `count` commits are in it by their records alone. */
async function recorded(count: number): Promise<{ image: Buffer; base: Meta }> {
  const file = new MemoryFile()
  await using db = await openFile(file, {})
  await put(db, 'first', 'x'.repeat(9000))
  await put(db, 'base')
  const before = file.steps.length
  for (let n = 0; n < count; n++) await put(db, `key-${n}`)
  const later = file.steps.slice(before).filter((step) => !isMeta(step))
  const image = afterKill([...file.steps.slice(0, before), ...later])
  const base = readMeta(new MemoryFile(afterKill(file.steps.slice(0, before))))
  assert.ok(base)
  return { image, base }
}

suite('the record of a commit', () => {
  test('stands for its meta, also for that of the commit before', async () => {
    for (const [count, expected] of [
      [1, ['base', 'first', 'key-0']],
      [2, ['base', 'first', 'key-0', 'key-1']],
    ] as const) {
      const { image, base } = await recorded(count)
      const state = readState(new MemoryFile(image))
      assert.equal(state?.recorded, true)
      assert.equal(state.meta.txid, base.txid + count)
      assert.equal(state.before?.txid, base.txid + count - 1)
      assert.deepEqual(await keysOf(image), expected)
    }
  })

  test('counts only as long as it and all its pages are as they were', async () => {
    const { image, base } = await recorded(1)
    const [next] = followers(new MemoryFile(image), base)
    assert.ok(next)
    const place = (next.txid % 2) * pageSize + recordOffset
    const length = 104 + image.readUInt32LE(place + 100) * 12
    const pages = Array.from({ length: next.highWater - 2 }, (_, n) => 2 + n)
    const ofIt = pages.filter((page) => {
      const damaged = Buffer.from(image)
      const at = page * pageSize + pageSize - 1
      damaged[at] = (damaged[at] ?? 0) ^ 1
      return followers(new MemoryFile(damaged), base).length === 0
    })
    // Its leaf and its root, and not what it left as it was.
    assert.ok(ofIt.length >= 2 && ofIt.length < pages.length, `${ofIt.join()} of ${pages.length}`)
    for (let at = place; at < place + length; at++) {
      const damaged = Buffer.from(image)
      damaged[at] = (damaged[at] ?? 0) ^ 1
      assert.deepEqual(followers(new MemoryFile(damaged), base), [], `byte ${at - place}`)
    }
    assert.deepEqual(followers(new MemoryFile(image.subarray(0, 3 * pageSize)), base), [])
  })

  test('counts only after the state that it was made for', async () => {
    const { image, base } = await recorded(1)
    const file = new MemoryFile(image)
    assert.equal(followers(file, base).length, 1)
    for (const other of [{ root: 3 }, { sequence: 7n }, { txid: base.txid + 2 }]) {
      assert.deepEqual(followers(file, { ...base, ...other }), [])
    }
  })

  test('is complete soon after, and when the database is closed', async () => {
    const file = new MemoryFile()
    const db = await openFile(file, {})
    await put(db, 'key')
    const made = file.steps.length
    while (file.steps.length === made) await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual(file.steps.slice(made), [{ kind: 'sync' }])
    await put(db, 'another')
    const before = file.steps.length
    await db[Symbol.asyncDispose]()
    assert.deepEqual(file.steps.slice(before), [{ kind: 'sync' }])
  })

  test('of a file that others open next becomes a meta page', async () => {
    for (const count of [1, 2]) {
      const { image, base } = await recorded(count)
      const file = new MemoryFile(Buffer.from(image))
      const db = await openFile(file, {})
      await db[Symbol.asyncDispose]()
      const left = afterKill([{ kind: 'write', position: 0, data: image }, ...file.steps])
      const state = readState(new MemoryFile(left))
      assert.equal(state?.recorded, false)
      assert.equal(state.meta.txid, base.txid + count)
    }
  })

  test('leaves a file that is only read as it is', async () => {
    const { image } = await recorded(1)
    const file = new MemoryFile(image)
    const db = await openFile(file, { readOnly: true })
    assert.deepEqual(keysIn(db), ['base', 'first', 'key-0'])
    await db[Symbol.asyncDispose]()
    assert.deepEqual(file.steps, [])
  })
})

suite('a commit that failed', () => {
  const large = 'x'.repeat(2 << 20)

  for (const [what, value, failing] of [
    ['by its one sync', '', 1],
    ['by the sync of its pages, which are many', large, 1],
    ['by the sync of its meta', large, 2],
  ] as const) {
    test(`${what} is gone when the next one is acknowledged`, async () => {
      const file = new MemoryFile()
      const db = await openFile(file, {})
      await put(db, 'first')
      let syncs = 0
      file.failure = (kind) =>
        kind === 'sync' && ++syncs === failing ? new Error('i/o error') : undefined
      await assert.rejects(put(db, 'failed', value), /i\/o error/)
      assert.equal(syncs, failing)
      file.failure = () => undefined
      assert.deepEqual(keysIn(db), ['first'])
      const failed = file.steps.length
      await put(db, 'second')
      await put(db, 'third')
      const below = random(1)
      for (let cut = failed; cut <= file.steps.length; cut++) {
        for (let n = 0; n < 4; n++) {
          const found = await keysOf(afterPowerCut(file.steps.slice(0, cut), below))
          const known = [
            ['first'],
            ['failed', 'first'],
            ['first', 'second'],
            ['first', 'second', 'third'],
          ]
          assert.ok(
            known.some((each) => each.join() === found.join()),
            found.join(),
          )
        }
      }
      const after = await keysOf(afterPowerCut(file.steps, below))
      assert.deepEqual(after, ['first', 'second', 'third'])
    })
  }

  test('is gone, too, when nothing follows and the database is closed', async () => {
    const file = new MemoryFile()
    const db = await openFile(file, {})
    await put(db, 'first')
    file.failure = (kind) => (kind === 'sync' ? new Error('i/o error') : undefined)
    await assert.rejects(put(db, 'failed'), /i\/o error/)
    file.failure = () => undefined
    await db[Symbol.asyncDispose]()
    assert.deepEqual(await keysOf(afterKill(file.steps)), ['first'])
  })
})
