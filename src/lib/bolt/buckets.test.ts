import assert from 'node:assert/strict'
import { test } from 'node:test'

import { MemoryFile } from '#testing/memory-file.ts'

import type { Database, ReadBucket } from './database.ts'
import { openFile } from './open.ts'

const open = async (): Promise<Database> => await openFile(new MemoryFile(), {})

test('the nested buckets are those with entries of their own, in order, read or written', async () => {
  await using db = await open()
  const names = (bucket: ReadBucket): string[] =>
    Array.from(
      bucket.buckets(),
      ([name, inner]) => `${Buffer.from(name).toString()}=${inner.sequence}`,
    )
  const expected = Array.from({ length: 400 }, (_, i) => `n${1000 + i}=${i}`)
  await db.update((tx) => {
    const b = tx.createBucket('b')
    for (let i = 0; i < 400; i++) {
      b.createBucket(`n${1000 + i}`).setSequence(BigInt(i))
      b.put(`v${1000 + i}`, 'value')
    }
    assert.deepEqual(names(b), expected)
  })
  assert.deepEqual(
    db.view((tx) => names(tx.bucket('b') ?? tx)),
    expected,
  )
  await db.update((tx) => tx.bucket('b')?.deleteBucket('n1007'))
  assert.deepEqual(
    db.view((tx) => names(tx.bucket('b') ?? tx)),
    expected.filter((name) => name !== 'n1007=7'),
  )
})

test('the revision changes with a commit, and not without', async () => {
  await using db = await open()
  const { revision } = db
  await db.update(() => {})
  assert.equal(db.revision, revision)
  await db.update((tx) => tx.createBucket('b').put('a', '1'))
  assert.notEqual(db.revision, revision)
})
