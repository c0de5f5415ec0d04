import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import {
  assertHolds,
  damageAndRescue,
  rescue,
  sampleImage,
  storedIn,
  valueAt,
} from '#testing/damaged-database.ts'
import { afterKill, MemoryFile } from '#testing/memory-file.ts'
import { soak, soakMs } from '#testing/soak.ts'

import { checkFile } from './check.ts'
import type { ReadBucket } from './database.ts'
import { readMetas } from './metas.ts'
import { openFile } from './open.ts'
import { type Remedy, salvage, type SalvageReport } from './salvage.ts'

const zero = (image: Buffer, ...pages: readonly number[]): Buffer => {
  const damaged = Buffer.from(image)
  for (const page of pages) damaged.fill(0, page * 4096, (page + 1) * 4096)
  return damaged
}

const remediesOf = ({ losses }: SalvageReport): Remedy[] => losses.map(({ remedy }) => remedy)

void suite('salvage', { timeout: soakMs(120_000) }, () => {
  void test('what is undamaged is copied, and nothing is lost', async () => {
    const image = await sampleImage(1)
    const [meta] = readMetas(new MemoryFile(image))
    assert.ok(meta)
    const { db, report } = await rescue(image)
    assert.deepEqual(report.losses, [])
    assert.equal(report.certain, true)
    const stored = storedIn(image, meta)
    assertHolds(db, stored, new Set())
    assert.equal(report.pairs, stored.length)
    assert.deepEqual(db.view(sequences), await sequencesOf(image))
  })

  void test('whatever is damaged, all pairs are there whose pages are not', async () => {
    await soak('bolt-salvage', 25, async ({ seed, below, count }) => {
      await damageAndRescue(await sampleImage(1 + (seed % 7)), below, count)
    })
  })

  void test('without both metas the state is found by what the pages hold', async () => {
    const image = await sampleImage(3)
    const { db, report } = await rescue(zero(image, 0, 1))
    assert.equal(report.certain, false)
    const matches = readMetas(new MemoryFile(image)).filter((meta) =>
      storedIn(image, meta).every((pair) => db.view((tx) => valueAt(tx, pair)) === pair.value),
    )
    assert.notEqual(matches.length, 0)
  })

  void test('a meta that is damaged a little still says which root is the last', async () => {
    const image = await sampleImage(3)
    const [meta] = readMetas(new MemoryFile(image))
    assert.ok(meta)
    const damaged = Buffer.from(image)
    for (const page of [0, 1]) damaged.writeUInt8(1, page * 4096 + 16 + 56)
    const { db, report } = await rescue(damaged)
    assert.equal(report.source, 'a damaged meta page')
    assertHolds(db, storedIn(image, meta), new Set())
  })

  void test('a root that is lost is taken from the commit before', async () => {
    const image = await sampleImage(2)
    const [newest, previous] = readMetas(new MemoryFile(image))
    assert.ok(newest && previous)
    const { db, report } = await rescue(zero(image, newest.root))
    assert.deepEqual(remediesOf(report), ['previous'])
    assertHolds(db, storedIn(image, previous), new Set([newest.root]))
  })

  void test('of a root that is lost, only what the commit before misses too is lost', async () => {
    const image = await sampleImage(2)
    const [newest, previous] = readMetas(new MemoryFile(image))
    assert.ok(newest && previous)
    const before = storedIn(image, previous)
    const leaf = before[100]?.pages.at(-1)
    assert.ok(leaf)
    const { db, report } = await rescue(zero(image, newest.root, leaf))
    assert.deepEqual(
      report.losses.map(({ page, remedy }) => ({ page, remedy })),
      [
        { page: newest.root, remedy: 'previous' },
        { page: leaf, remedy: 'none' },
      ],
    )
    assertHolds(db, before, new Set([newest.root, leaf]))
  })

  void test('the leaves of a branch that is lost are found by their keys', async () => {
    const { image, branch, keys } = await withDeepBucket()
    const { db, report } = await rescue(zero(image, branch))
    assert.deepEqual(remediesOf(report), ['orphans'])
    assert.deepEqual(
      db.view((tx) => Array.from(tx.bucket('b')?.entries() ?? [], ({ key }) => String(key))),
      keys,
    )
  })

  void test('what the disk does not give back is lost alone', async () => {
    const image = await sampleImage(4)
    const [meta] = readMetas(new MemoryFile(image))
    assert.ok(meta)
    const stored = storedIn(image, meta)
    const broken = new Set([stored[10]?.pages.at(-1) ?? 0, (meta.txid + 1) % 2])
    const file = new MemoryFile(image)
    const read = file.read.bind(file)
    file.read = (buf, position) => {
      for (const page of broken) {
        const inside = position < (page + 1) * 4096 && position + buf.length > page * 4096
        if (inside) throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' })
      }
      return read(buf, position)
    }
    const { problems } = await checkFile(file)
    assert.deepEqual(new Set(problems.map(({ page }) => page)), broken)
    await using db = await openFile(new MemoryFile(), { noSync: true })
    await salvage(file, db)
    assertHolds(db, stored, broken)
  })

  void test('a file without any page of a database gives nothing', async () => {
    const { report } = await rescue(Buffer.alloc(64 * 1024, 'text'))
    assert.deepEqual(report, {
      source: undefined,
      certain: false,
      buckets: 0,
      pairs: 0,
      losses: [],
      doubts: [],
    })
  })
})

/** A bucket of three levels, written at once, with one of the branches below its root. */
async function withDeepBucket(): Promise<{ image: Buffer; branch: number; keys: string[] }> {
  const file = new MemoryFile()
  await using db = await openFile(file, {})
  const keys = Array.from({ length: 3000 }, (_, i) => `key ${1000 + i} ${'k'.repeat(200)}`)
  await db.update((tx) => {
    const bucket = tx.createBucket('b')
    for (const key of keys) bucket.put(key, 'value')
  })
  await db.update((tx) => tx.createBucket('other'))
  const image = afterKill(file.steps)
  const [meta] = readMetas(file)
  assert.ok(meta)
  // The way to a pair: root, root of the bucket, branch, leaf.
  const branch = storedIn(image, meta)[1500]?.pages[2]
  assert.ok(branch)
  return { image, branch, keys }
}

const sequences = (bucket: ReadBucket): unknown[] =>
  Array.from(bucket.buckets(), ([name, inner]) => [
    String(name),
    inner.sequence,
    ...sequences(inner),
  ])

async function sequencesOf(image: Buffer): Promise<unknown[]> {
  await using db = await openFile(new MemoryFile(image), {})
  return db.view(sequences)
}
