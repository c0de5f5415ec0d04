import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { MemoryFile } from '#testing/memory-file.ts'
import { random } from '#testing/random.ts'

import { Freelist } from './freelist.ts'
import { openFile } from './open.ts'
import { LeafPage } from './page.ts'
import { pieces, Places } from './places.ts'

const pageSize = 4096

const listOf = (...runs: readonly (readonly [number, number])[]): Freelist => {
  const list = new Freelist()
  for (const [start, span] of runs) list.give(start, span)
  return list
}

/** A file of 30 pages, the last of which is in use. */
const full = { highWater: 30, pages: 30 }

const page = (id: number, span: number): LeafPage =>
  new LeafPage(id, Buffer.alloc(span * pageSize, id))

void suite('where a commit puts its pages', () => {
  void test('in a row, though there are free pages before it', () => {
    const list = listOf([3, 1], [5, 2], [10, 9])
    const places = new Places(list, full, 5)
    assert.deepEqual([places.take(1), places.take(3), places.take(2)], [10, 11, 14])
    places.close()
    assert.equal(list.count, 6)
    assert.deepEqual([list.take(3), places.highWater], [16, 30])
  })

  void test('in as much of a row as there is, then wherever, then at the end', () => {
    const list = listOf([3, 1], [5, 2])
    const places = new Places(list, full, 100)
    const taken = Array.from({ length: 5 }, () => places.take(1))
    assert.deepEqual([taken, places.highWater, list.count], [[5, 6, 3, 30, 31], 32, 0])
  })

  void test('at the end, as far as the file goes, rather than here and there', () => {
    const list = listOf([3, 1], [5, 2])
    const places = new Places(list, { highWater: 30, pages: 34 }, 3)
    assert.deepEqual([places.take(1), places.take(2), places.highWater], [30, 31, 33])
    places.close()
    const later = new Places(list, { highWater: 33, pages: 34 }, 3)
    assert.deepEqual([later.take(1), later.take(1), later.take(1)], [5, 6, 3])
    assert.equal(later.highWater, 33)
  })

  void test('here and there, once an eighth of the file is free and that is not little', () => {
    const holes = Array.from({ length: 60 }, (_, n) => [10 + 2 * n, 1] as const)
    const list = listOf(...holes, [200, 8])
    const room = { highWater: 540, pages: 600 }
    assert.equal(new Places(list, room, 4).take(1), 10)
    assert.equal(new Places(list, { ...room, highWater: 560 }, 4).take(1), 200)
  })

  void test('a large value comes before a row', () => {
    const list = listOf([3, 1], [5, 8])
    const places = new Places(list, full, 3)
    assert.deepEqual([places.take(8), places.take(1), places.take(1)], [5, 3, 30])
  })

  void test('what is undone is free again, all of it and once', () => {
    const list = listOf([3, 1], [5, 8])
    const places = new Places(list, full, 4)
    for (const span of [1, 2, 3, 1, 9]) places.take(span)
    places.undo()
    places.undo()
    assert.equal(list.count, 9)
    assert.deepEqual([list.take(8), list.take(1)], [5, 3])
  })

  void test('a commit of nothing takes nothing', () => {
    const list = listOf([5, 8])
    new Places(list, full, 0).close()
    assert.equal(list.count, 8)
  })

  void test('pages that follow one another are written together, up to 64 KiB', () => {
    const pages = [page(4, 1), page(5, 3), page(8, 1), page(10, 1), page(9, 1), page(20, 20)]
    const done = [...pieces(pages, pageSize)]
    const seen = done.map(({ start, buf }) => [start / pageSize, buf.length / pageSize])
    assert.deepEqual(seen, [
      [4, 5],
      [10, 1],
      [9, 1],
      [20, 20],
    ])
    assert.deepEqual(done[0]?.buf.subarray(pageSize, pageSize + 1), Buffer.of(5))
    const many = Array.from({ length: 40 }, (_, n) => page(100 + n, 1))
    assert.deepEqual(
      [...pieces(many, pageSize)].map(({ buf }) => buf.length / pageSize),
      [16, 16, 8],
    )
  })

  void test('of small commits most are one write, in a database that is written to at random', async () => {
    const file = new MemoryFile()
    await using db = await openFile(file, { keepRoom: true })
    const below = random(7)
    const touch = async (): Promise<void> => {
      await db.update((tx) => {
        const bucket = tx.createBucketIfNotExists(`top-${below(4)}`)
        bucket.put(`key-${below(400)}`, 'x'.repeat(below(400)))
      })
    }
    for (let n = 0; n < 300; n++) await touch()
    const before = file.steps.length
    for (let n = 0; n < 100; n++) await touch()
    const writes = file.steps.slice(before).filter(({ kind }) => kind === 'write').length
    // One for its pages, one for its record and one for its meta; some find no row.
    assert.ok(writes >= 300 && writes < 320, `${writes} writes of 100 commits`)
  })
})
