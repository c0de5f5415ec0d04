import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { afterKill, MemoryFile } from '#testing/memory-file.ts'

import { writeUint64 } from './bytes.ts'
import { type CheckReport, checkFile } from './check.ts'
import { encodeMeta, type Meta } from './meta.ts'
import { readMeta } from './metas.ts'
import { openFile } from './open.ts'
import { type BranchPage, type LeafPage, type Page, parsePage } from './page.ts'
import type { Problem } from './problem.ts'

/* One kind of damage at a time, on a file whose pages are known. */

const pageSize = 4096

/** A file with a bucket of two levels, `b`, and what of it the damage is done to. */
interface Sample {
  readonly image: Buffer
  readonly meta: Meta
  /** The root page, which has the header of `b`. */
  readonly root: LeafPage
  readonly branch: BranchPage
  /** The second child of the branch. */
  readonly leaf: LeafPage
}

async function sample(): Promise<Sample> {
  const file = new MemoryFile()
  await using db = await openFile(file, {})
  await db.update((tx) => {
    const bucket = tx.createBucket('b')
    for (let i = 0; i < 100; i++) bucket.put(`key ${1000 + i}`, 'v'.repeat(200))
    tx.createBucket('small').put('a', 'b')
  })
  const image = afterKill(file.steps)
  const meta = readMeta(file)
  assert.ok(meta)
  const pageAt = (id: number): Page =>
    parsePage(id, image.subarray(id * pageSize, (id + 1) * pageSize))
  const root = pageAt(meta.root)
  assert.ok(root.leaf)
  const branch = pageAt(Number(root.valueAt(0).readBigUInt64LE(0)))
  assert.ok(!branch.leaf)
  const leaf = pageAt(branch.childAt(1))
  assert.ok(leaf.leaf)
  return { image, meta, root, branch, leaf }
}

/** What a look at the sample finds when `damage` was done to it. */
async function found(damage: (given: Sample) => void): Promise<CheckReport> {
  const given = await sample()
  damage(given)
  return await checkFile(new MemoryFile(given.image))
}

const textOf = ({ severity, page, message }: Problem): string =>
  `${severity}: ${page === undefined ? '' : `${page} `}${message}`

/** Puts a list of free pages at the end of the file, as Go does, in a new newest meta. */
function addList({ image, meta }: Sample, ids: readonly number[]): void {
  const page = image.subarray(meta.highWater * pageSize)
  writeUint64(page, meta.highWater, 0)
  page.writeUInt16LE(0x10, 8)
  page.writeUInt16LE(ids.length, 10)
  for (const [i, id] of ids.entries()) writeUint64(page, id, 16 + i * 8)
  const { highWater, txid } = meta
  const next = { ...meta, txid: txid + 1, freelist: highWater, highWater: highWater + 1 }
  encodeMeta(next).copy(image, (next.txid % 2) * pageSize)
}

/** Where in a page its element `index` begins. */
const element = (index: number): number => 16 + index * 16

const cases: readonly (readonly [
  name: string,
  damage: (given: Sample) => void,
  expected: (given: Sample) => string,
])[] = [
  [
    'a meta that does not match its checksum',
    ({ image }) => image.writeUInt8(9, 16 + 16),
    () => 'damage: 0 does not match its checksum',
  ],
  [
    'a meta in the place of the other',
    ({ image, meta }) =>
      image.copyWithin(
        ((meta.txid + 1) % 2) * pageSize,
        (meta.txid % 2) * pageSize,
        (meta.txid % 2) * pageSize + 128,
      ),
    ({ meta }) => `damage: ${(meta.txid + 1) % 2} has the id ${meta.txid % 2} in it`,
  ],
  [
    'a page that is all zero',
    ({ leaf }) => leaf.buf.fill(0),
    ({ leaf }) => `damage: ${leaf.id} is all zero`,
  ],
  [
    'a page with the id of another',
    ({ leaf }) => writeUint64(leaf.buf, 77, 0),
    ({ leaf }) => `damage: ${leaf.id} has the id 77 in it`,
  ],
  [
    'a page of no kind',
    ({ leaf }) => leaf.buf.writeUInt16LE(0x40, 8),
    ({ leaf }) => `damage: ${leaf.id} is neither branch nor leaf`,
  ],
  [
    'a page with more elements than fit',
    ({ leaf }) => leaf.buf.writeUInt16LE(0x7fff, 10),
    ({ leaf }) => `damage: ${leaf.id} says that it has 32767 elements: more than fit`,
  ],
  [
    'a page that says that many others belong to it',
    ({ leaf }) => leaf.buf.writeUInt32LE(3, 12),
    ({ leaf }) => `damage: ${leaf.id} says that 4 pages belong to it, and needs 1: bucket b`,
  ],
  [
    'an element that points outside',
    ({ leaf }) => leaf.buf.writeUInt32LE(9999, element(3) + 4),
    ({ leaf }) => `damage: ${leaf.id} element 3 points outside its page`,
  ],
  [
    'an element with unknown flags',
    ({ leaf }) => leaf.buf.writeUInt32LE(8, element(3)),
    ({ leaf }) => `damage: ${leaf.id} element 3 has flags 0x8`,
  ],
  [
    'an element without a key',
    ({ leaf }) => leaf.buf.writeUInt32LE(0, element(3) + 8),
    ({ leaf }) => `damage: ${leaf.id} element 3 has an empty key`,
  ],
  [
    'keys out of order',
    ({ leaf }) => leaf.keyAt(3).set(leaf.keyAt(5)),
    ({ leaf }) => `damage: ${leaf.id} element 3 has a key out of order`,
  ],
  [
    'a key that belongs to another page',
    ({ leaf }) => leaf.keyAt(3).write('zzz'),
    ({ leaf }) => `damage: ${leaf.id} element 3 has a key that belongs elsewhere`,
  ],
  [
    'a branch that leads to a page of another place',
    ({ branch }) => writeUint64(branch.buf, branch.childAt(2), element(1) + 8),
    ({ branch }) => `damage: ${branch.childAt(2)} has keys of another place`,
  ],
  [
    'a branch that leads out of the file',
    ({ branch }) => writeUint64(branch.buf, 5_000_000, element(1) + 8),
    () => 'damage: 5000000 is not there',
  ],
  [
    'a branch without children',
    ({ branch }) => branch.buf.writeUInt16LE(0, 10),
    ({ branch }) => `damage: ${branch.id} is a branch without children`,
  ],
  [
    'a bucket that leads back to the root',
    ({ root }) => writeUint64(root.valueAt(0), root.id, 0),
    ({ root }) => `damage: ${root.id} is used twice`,
  ],
  [
    'a bucket that is cut short',
    ({ root }) => root.buf.writeUInt32LE(5, element(1) + 12),
    ({ root }) => `damage: ${root.id} has a bucket that is cut short`,
  ],
  [
    'a pair at the root',
    ({ root }) => root.buf.writeUInt32LE(0, element(1)),
    ({ root }) => `damage: ${root.id} has 1 pairs at the root, which holds buckets only`,
  ],
  [
    'a list that says that a page in use is free',
    (given) => addList(given, [given.leaf.id]),
    ({ meta, leaf }) =>
      `damage: ${meta.highWater} says that page ${leaf.id} is free, which a bucket uses`,
  ],
  [
    'a list that names a page twice',
    (given) => addList(given, [2, 2]),
    ({ meta }) => `damage: ${meta.highWater} names page 2 twice`,
  ],
  [
    'a list that names no page',
    (given) => addList(given, [1]),
    ({ meta }) => `damage: ${meta.highWater} names page 1`,
  ],
]

void suite('a check', () => {
  void test('finds nothing in a sound file, and counts what is there', async () => {
    const { problems, sound, pages, buckets, pairs } = await found(() => {})
    assert.deepEqual([problems, sound, buckets, pairs], [[], true, 2, 101])
    assert.deepEqual([pages.branch, pages.overflow, pages.leaked], [1, 0, 0])
    assert.equal(pages.branch + pages.leaf + pages.free + 2, pages.total)
  })

  for (const [name, damage, expected] of cases) {
    void test(`finds ${name}`, async () => {
      const { problems, sound } = await found(damage)
      const texts = problems.map(textOf)
      assert.ok(texts.includes(expected(await sample())), texts.join('\n'))
      assert.equal(sound, false)
    })
  }

  void test('finds that a file is cut short, and every page that is missing', async () => {
    const { image, meta } = await sample()
    const end = (meta.highWater - 1) * pageSize
    const { problems, sound } = await checkFile(new MemoryFile(image.subarray(0, end)))
    const missing = `1 of ${meta.highWater} pages of 4096 bytes are missing`
    assert.equal(problems.map(textOf)[0], `damage: is cut short: ${missing}`)
    assert.equal(sound, false)
  })

  void test('pages that are neither used nor free are no damage', async () => {
    const { problems, sound, pages } = await found((given) => addList(given, []))
    assert.deepEqual(problems.map(textOf), [
      `warning: ${pages.leaked} pages are neither used nor free: room that is lost`,
    ])
    assert.equal(sound, true)
    assert.notEqual(pages.leaked, 0)
  })

  void test('ends when it is told to', async () => {
    const file = new MemoryFile()
    await using db = await openFile(file, { noSync: true })
    await db.update((tx) => {
      for (let i = 0; i < 1000; i++) tx.createBucket(`b${i}`).put('key', 'v'.repeat(2000))
    })
    const signal = AbortSignal.abort(new Error('enough'))
    await assert.rejects(checkFile(file, { signal }), /enough/)
  })
})
