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

test('a pinned state is read over many commits, and its pages are used again after it', async () => {
  const file = new MemoryFile()
  await using db = await openFile(file, { cacheBytes: 0 })
  const texts = (bucket: ReadBucket | undefined): string[] =>
    Array.from(bucket?.entries() ?? [], ({ value }) => Buffer.from(value ?? []).toString('latin1'))
  const write = async (round: number): Promise<void> =>
    await db.update((tx) => {
      const b = tx.createBucketIfNotExists('b')
      for (let i = 0; i < 200; i++) b.put(`key ${1000 + i}`, `${round} `.repeat(30))
    })
  await write(0)
  const before = db.view((tx) => texts(tx.bucket('b')))
  const pinned = db.pin()
  for (let round = 1; round <= 10; round++) {
    await write(round)
    assert.deepEqual(texts(pinned.root.bucket('b')), before)
  }
  pinned[Symbol.dispose]()
  assert.throws(() => pinned.root.bucket('b'), /the transaction is over/)
  await write(11)
  const size = file.size()
  for (let round = 12; round <= 30; round++) await write(round)
  assert.equal(file.size(), size)
})

test('a pinned state ends with its database', async () => {
  const db = await open()
  using pinned = db.pin()
  await db[Symbol.asyncDispose]()
  assert.throws(() => pinned.root.bucket('b'), /the transaction is over/)
})
