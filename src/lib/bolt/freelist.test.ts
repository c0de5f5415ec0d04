import assert from 'node:assert/strict'
import { test } from 'node:test'

import { afterKill, MemoryFile } from '#testing/memory-file.ts'
import { random } from '#testing/random.ts'

import { writeUint64 } from './bytes.ts'
import type { Database } from './database.ts'
import { Freelist } from './freelist.ts'
import { decodeMeta, encodeMeta, type Meta, noFreelist } from './meta.ts'
import { openFile } from './open.ts'

/** Where `span` free pages in a row are first. */
function firstFit(free: ReadonlySet<number>, span: number): number | undefined {
  const wanted = Array.from({ length: span }, (_, i) => i)
  return [...free].toSorted((a, b) => a - b).find((id) => wanted.every((i) => free.has(id + i)))
}

test('pages are taken in a row, once, and come back', () => {
  const rand = random(1)
  const list = new Freelist()
  const free = new Set<number>()
  const taken: { start: number; span: number }[] = [{ start: 2, span: 500 }]
  for (let i = 0; i < 5000; i++) {
    if (rand(2) === 0 && taken.length > 0) {
      const [run] = taken.splice(rand(taken.length), 1)
      assert.ok(run)
      assert.equal(list.conflict([run]), undefined)
      list.give(run.start, run.span)
      for (let id = run.start; id < run.start + run.span; id++) free.add(id)
    } else {
      const span = 1 + rand(8)
      const start = list.take(span)
      assert.equal(start, firstFit(free, span))
      if (start === undefined) continue
      for (let id = start; id < start + span; id++) assert.ok(free.delete(id))
      taken.push({ start, span })
    }
    assert.equal(list.count, free.size)
  }
})

test('a page that is freed twice is noticed', () => {
  const list = new Freelist()
  list.give(10, 5)
  assert.equal(list.conflict([{ start: 5, span: 5 }]), undefined)
  assert.equal(list.conflict([{ start: 5, span: 6 }]), 5)
  assert.equal(list.conflict([{ start: 14, span: 1 }]), 14)
  const twice = [20, 30, 20].map((start) => ({ start, span: 1 }))
  assert.equal(list.conflict(twice), 20)
})

async function fill(db: Database, value: string): Promise<void> {
  await db.update((tx) => {
    const bucket = tx.createBucketIfNotExists('b')
    for (let i = 0; i < 100; i++) bucket.put(`key-${i}`, value)
  })
}

/** A database with free pages, and its meta. */
async function withFreePages(): Promise<{ image: Buffer; meta: Meta }> {
  const file = new MemoryFile()
  await using db = await openFile(file, {})
  await fill(db, 'x'.repeat(2000))
  await fill(db, '')
  const image = afterKill(file.steps)
  const metas = [decodeMeta(image), decodeMeta(image.subarray(4096))]
  const [meta] = metas.filter((each) => each !== undefined).toSorted((a, b) => b.txid - a.txid)
  assert.ok(meta)
  return { image, meta }
}

/** Writes a list of free pages as Go does when it keeps one. */
function addList(image: Buffer, meta: Meta, ids: readonly number[], longCount: boolean): Buffer {
  const next = Buffer.alloc(Math.max(image.length, (meta.highWater + 1) * meta.pageSize))
  image.copy(next)
  const page = next.subarray(meta.highWater * meta.pageSize)
  writeUint64(page, meta.highWater, 0)
  page.writeUInt16LE(0x10, 8)
  page.writeUInt16LE(longCount ? 0xffff : ids.length, 10)
  const words = longCount ? [ids.length, ...ids] : ids
  for (const [i, word] of words.entries()) writeUint64(page, word, 16 + i * 8)
  const listed = {
    ...meta,
    txid: meta.txid + 1,
    freelist: meta.highWater,
    highWater: meta.highWater + 1,
  }
  encodeMeta(listed).copy(next, (listed.txid % 2) * meta.pageSize)
  return next
}

for (const longCount of [false, true]) {
  test(`the free pages of the file are used (count in the ${longCount ? 'list' : 'header'})`, async () => {
    const { image, meta } = await withFreePages()
    const ids = Array.from({ length: 20 }, (_, i) => 20 + i)
    const file = new MemoryFile(addList(image, meta, ids, longCount))
    await using db = await openFile(file, {})
    await db.update((tx) => tx.createBucket('c').createBucket('d'))
    const writes = file.steps.flatMap((step) => (step.kind === 'write' ? [step] : []))
    const pages = writes.flatMap(({ position, data }) =>
      Array.from({ length: Math.ceil(data.length / meta.pageSize) }, (_, n) =>
        Math.floor(position / meta.pageSize + n),
      ),
    )
    // The meta page is written to twice: the record of the commit, and its meta.
    const metaPage = (meta.txid + 2) % 2
    assert.deepEqual(pages, [20, 21, metaPage, metaPage])
    const newest = writes.at(-1)
    assert.ok(newest)
    assert.equal(decodeMeta(newest.data)?.freelist, noFreelist)
  })
}

test('a list that names pages in no sound way is refused, and reading goes on', async () => {
  const { image, meta } = await withFreePages()
  for (const ids of [[1], [meta.highWater + 1], [20, 20]]) {
    await using db = await openFile(new MemoryFile(addList(image, meta, ids, false)), {})
    await assert.rejects(fill(db, ''), { code: 'data_loss', message: /memory\.db.*free pages/ })
    assert.equal(
      db.view((tx) => tx.bucket('b')?.get('key-1')?.length),
      0,
    )
  }
})
