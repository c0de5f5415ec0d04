import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { writeUint64 } from './bytes.ts'
import { checkFile } from './check.ts'
import type { Database } from './database.ts'
import { FdFile } from './file.ts'
import { encodeMeta } from './meta.ts'
import { readMeta } from './metas.ts'
import { openFile } from './open.ts'

/* Files that are larger than what may be kept of them. Their values are holes, which take no disk. */

const pageSize = 4096
const hole = Buffer.alloc(pageSize)

/** Writes no zeroes beyond where it has written, and syncs nothing. */
class SparseFile extends FdFile {
  #end = 0

  override async write(buf: Buffer, position: number): Promise<void> {
    for (let at = 0; at < buf.length; at += pageSize) {
      const page = buf.subarray(at, at + pageSize)
      if (position + at >= this.#end && page.equals(hole.subarray(0, page.length))) continue
      await super.write(page, position + at)
    }
    this.#end = Math.max(this.#end, position + buf.length)
  }

  override async sync(): Promise<void> {
    await Promise.resolve()
  }
}

const opened = (path: string): SparseFile =>
  new SparseFile(fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT), path)

const cacheBytes = 8 * 1024 * 1024
const valueBytes = 1024 * 1024
const values = 1280

/** What may be in memory at once: the cache, what Node needs, and values that wait to be collected. */
const mostMemory = 400 * 1024

async function fill(db: Database): Promise<void> {
  const value = Buffer.alloc(valueBytes)
  for (let i = 0; i < values; i++) {
    await db.update((tx) => {
      const bucket = tx.createBucketIfNotExists('large').createBucket(`n${i}`)
      bucket.put('number', String(i))
      bucket.put('value', value)
    })
  }
}

function readAll(db: Database): void {
  db.view((tx) => {
    let bytes = 0
    for (const [name, inner] of tx.bucket('large')?.buckets() ?? []) {
      assert.equal(`n${String(inner.get('number'))}`, String(name))
      bytes += inner.get('value')?.length ?? 0
    }
    assert.equal(bytes, values * valueBytes)
  })
}

/** Adds a list of all free pages to the file, as Go writes it: there are more than 16 bits count. */
async function addFreelist(file: SparseFile): Promise<number> {
  const meta = readMeta(file)
  assert.ok(meta)
  const free = Array.from({ length: meta.highWater - 2 - 5000 }, (_, i) => 5000 + i)
  const span = Math.ceil((16 + 8 + free.length * 8) / pageSize)
  const list = Buffer.alloc(span * pageSize)
  writeUint64(list, meta.highWater, 0)
  list.writeUInt16LE(0x10, 8)
  list.writeUInt16LE(0xffff, 10)
  list.writeUInt32LE(span - 1, 12)
  for (const [i, word] of [free.length, ...free].entries()) writeUint64(list, word, 16 + i * 8)
  await file.write(list, meta.highWater * pageSize)
  const { highWater, txid } = meta
  const next = { ...meta, txid: txid + 1, freelist: highWater, highWater: highWater + span }
  await file.write(encodeMeta(next), (next.txid % 2) * pageSize)
  return free.length
}

void suite('a file of more than a gigabyte', { timeout: 120_000 }, () => {
  void test('is written, read, checked and emptied in little memory', async () => {
    using dir = fs.mkdtempDisposableSync(join(tmpdir(), 'bolt-large-'))
    const path = join(dir.path, 'db')
    {
      await using db = await openFile(opened(path), { cacheBytes })
      await fill(db)
    }
    assert.ok(fs.statSync(path).size > 2 ** 30)
    {
      await using db = await openFile(opened(path), { cacheBytes })
      readAll(db)
      await db.update((tx) => tx.deleteBucket('large'))
    }
    const file = opened(path)
    const { problems, pages } = await checkFile(file)
    assert.deepEqual(problems, [])
    assert.ok(pages.free > 2 ** 30 / pageSize)
    const { maxRSS } = process.resourceUsage()
    assert.ok(maxRSS < mostMemory, `${maxRSS} KiB of memory`)
    file.close()
  })

  void test('may have a list of more free pages than 16 bits count', async () => {
    using dir = fs.mkdtempDisposableSync(join(tmpdir(), 'bolt-large-'))
    const path = join(dir.path, 'db')
    const file = opened(path)
    {
      await using db = await openFile(opened(path), { cacheBytes })
      await db.update((tx) => {
        tx.createBucket('large').put('value', Buffer.alloc(300 * valueBytes))
      })
      await db.update((tx) => tx.deleteBucket('large'))
    }
    const free = await addFreelist(file)
    assert.ok(free > 0xffff)
    assert.equal((await checkFile(file)).pages.free, free)
    {
      await using db = await openFile(opened(path), { cacheBytes })
      await db.update((tx) => tx.createBucket('after').put('key', 'value'))
    }
    const { pages, sound } = await checkFile(file)
    assert.deepEqual([sound, pages.freelist], [true, 0])
    file.close()
  })

  void test('may have pages that 32 bits of bytes do not reach', async () => {
    using dir = fs.mkdtempDisposableSync(join(tmpdir(), 'bolt-large-'))
    const path = join(dir.path, 'db')
    const file = opened(path)
    await (await openFile(opened(path), {}))[Symbol.asyncDispose]()
    const meta = readMeta(file)
    assert.ok(meta)
    // A list that names no page leaves all that were never used below the mark alone.
    const highWater = 2 ** 33 / pageSize
    const list = Buffer.alloc(pageSize)
    writeUint64(list, highWater - 1, 0)
    list.writeUInt16LE(0x10, 8)
    await file.truncate(highWater * pageSize)
    await file.write(list, (highWater - 1) * pageSize)
    const next = { ...meta, txid: meta.txid + 1, freelist: highWater - 1, highWater }
    await file.write(encodeMeta(next), (next.txid % 2) * pageSize)
    {
      await using db = await openFile(opened(path), {})
      await db.update((tx) => tx.createBucket('far').put('key', 'value'.repeat(1000)))
    }
    await using db = await openFile(opened(path), {})
    assert.equal(
      db.view((tx) => tx.bucket('far')?.get('key')?.length),
      5000,
    )
    assert.ok((readMeta(file)?.root ?? 0) >= highWater)
    file.close()
  })
})
