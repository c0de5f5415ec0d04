import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { storedIn } from '#testing/damaged-database.ts'
import { afterKill, type FileStep, MemoryFile } from '#testing/memory-file.ts'

import { checkFile } from './check.ts'
import type { Bucket, Database } from './database.ts'
import { readMetas } from './metas.ts'
import { openFile } from './open.ts'

/* How the free pages of a large file are found while it is written to. */

/** Remembers how it is read. */
class WatchedFile extends MemoryFile {
  reads = 0
  largestRead = 0
  #closed = false

  override read(buf: Buffer, position: number): number {
    assert.equal(this.#closed, false, 'a read after the end')
    this.reads++
    this.largestRead = Math.max(this.largestRead, buf.length)
    return super.read(buf, position)
  }

  override close(): void {
    this.#closed = true
  }
}

const leaves = 6000

/** A file of many leaves, each in a bucket of its own, with some free pages and a long value. */
async function largeImage(): Promise<Buffer> {
  const file = new MemoryFile()
  await using db = await openFile(file, { noSync: true })
  await db.update((tx) => {
    const bucket = tx.createBucket('b')
    for (let i = 0; i < leaves; i++) bucket.createBucket(`n${i}`).put('value', 'x'.repeat(1500))
  })
  await db.update((tx) => {
    tx.createBucket('long').put('value', Buffer.alloc(4 * 1024 * 1024))
    for (let i = 0; i < 50; i++) tx.bucket('b')?.deleteBucket(`n${i * 100}`)
  })
  return afterKill(file.steps)
}

const put = (n: number) => (tx: Bucket) => tx.createBucketIfNotExists('new').put('n', String(n))

const highWaterOf = (image: Buffer): number => readMetas(new MemoryFile(image))[0]?.highWater ?? 0

/** The pages that were written from step `from` on, other than metas. */
const written = (steps: readonly FileStep[], from: number): number[] =>
  steps
    .slice(from)
    .flatMap((step) => (step.kind === 'write' ? [step.position / 4096] : []))
    .filter((page) => page > 1)

/** Commits until one uses free pages again. */
async function commitUntilFound(db: Database, file: MemoryFile, limit: number): Promise<void> {
  for (let n = 0; n < 10_000; n++) {
    const { length } = file.steps
    await db.update(put(n))
    if (written(file.steps, length).some((page) => page < limit)) return
  }
  assert.fail('the free pages were never used')
}

void suite('the search for free pages', { timeout: 60_000 }, () => {
  void test('commits do not wait for it, and take new pages until it ends', async () => {
    const image = await largeImage()
    const file = new WatchedFile(image)
    const limit = highWaterOf(image)
    await using db = await openFile(file, {})
    await db.update(put(0))
    assert.ok(file.reads < leaves, `${file.reads} reads`)
    assert.ok(written(file.steps, 0).every((page) => page >= limit))
    await commitUntilFound(db, file, limit)
    const size = file.size()
    for (let n = 0; n < 200; n++) await db.update(put(n))
    assert.equal(file.size(), size)
    const after = await checkFile(new MemoryFile(bytesOf(file)))
    assert.deepEqual(after.problems, [])
    assert.equal(after.buckets, leaves - 50 + 3)
  })

  void test('values are not read for it', async () => {
    const image = await largeImage()
    const file = new WatchedFile(image)
    await using db = await openFile(file, {})
    await commitUntilFound(db, file, highWaterOf(image))
    assert.ok(file.largestRead < 64 * 1024, `a read of ${file.largestRead} bytes`)
    await db.update((tx) => tx.deleteBucket('long'))
    assert.ok(file.largestRead < 64 * 1024, `a read of ${file.largestRead} bytes`)
  })

  void test('closing ends it', async () => {
    const file = new WatchedFile(await largeImage())
    const db = await openFile(file, {})
    await db.update(put(0))
    await db[Symbol.asyncDispose]()
    const { reads } = file
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(file.reads, reads)
  })

  void test('damage that it finds ends the writing, and reading goes on', async () => {
    const image = await largeImage()
    const [meta] = readMetas(new MemoryFile(image))
    assert.ok(meta)
    const page = storedIn(image, meta)
      .find(({ bucket }) => bucket[1] === 'n2345')
      ?.pages.at(-1)
    assert.ok(page)
    image.fill(0, page * 4096, (page + 1) * 4096)
    const file = new MemoryFile(image)
    await using db = await openFile(file, {})
    await assert.rejects(
      async () => {
        for (let n = 0; n < 10_000; n++) await db.update(put(n))
      },
      { code: 'data_loss' },
    )
    await assert.rejects(db.update(put(0)), { code: 'data_loss' })
    assert.equal(
      db.view((tx) => tx.bucket('long') !== undefined),
      true,
    )
  })
})

function bytesOf(file: MemoryFile): Buffer {
  const bytes = Buffer.alloc(file.size())
  file.read(bytes, 0)
  return bytes
}
