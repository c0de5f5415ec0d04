import assert from 'node:assert/strict'

import { readUint64 } from '#lib/bolt/bytes.ts'
import { checkFile } from '#lib/bolt/check.ts'
import type { Bucket, Database, ReadBucket } from '#lib/bolt/database.ts'
import type { Meta } from '#lib/bolt/meta.ts'
import { readMetas } from '#lib/bolt/metas.ts'
import { openFile } from '#lib/bolt/open.ts'
import { bucketHeaderSize, type Page, parsePage } from '#lib/bolt/page.ts'
import { salvage, type SalvageReport } from '#lib/bolt/salvage.ts'

import { afterKill, MemoryFile } from './memory-file.ts'
import { random } from './random.ts'

/** One pair of a database, with the pages on the way from the root to it. */
export interface Stored {
  readonly bucket: readonly string[]
  readonly key: string
  /** As Latin-1. */
  readonly value: string
  readonly pages: readonly number[]
}

/** A database after a few commits: nested and inline buckets, long values, branches, free pages. */
export async function sampleImage(seed: number): Promise<Buffer> {
  const below = random(seed)
  const file = new MemoryFile()
  await using db = await openFile(file, { noSync: true })
  for (let commit = 0; commit < 4 + below(8); commit++) await db.update((tx) => change(tx, below))
  return afterKill(file.steps)
}

function change(tx: Bucket, below: (limit: number) => number): void {
  for (let n = 0; n < 30; n++) {
    const top = tx.createBucketIfNotExists(`top-${below(3)}`)
    top.nextSequence()
    const bucket = top.createBucketIfNotExists(`bucket-${below(10)}`)
    for (let i = 0; i < 1 + below(40); i++) {
      const key = `key-${below(300)}-${'k'.repeat(below(30))}`
      bucket.put(key, `${below(1000)} `.repeat(below(40) === 0 ? 3000 : below(40)))
    }
    const small = bucket.createBucketIfNotExists(`small-${below(8)}`)
    small.put(`label-${below(5)}`, 'value')
    small.setSequence(BigInt(below(1000)))
    const name = `bucket-${below(10)}`
    if (below(8) === 0 && top.bucket(name) !== undefined) top.deleteBucket(name)
  }
}

/** Flips bits or zeroes pages. The bytes then, and the pages it touched. */
export function damage(
  image: Buffer,
  below: (limit: number) => number,
  pageSize = 4096,
): { bytes: Buffer; pages: ReadonlySet<number> } {
  const bytes = Buffer.from(image)
  const pages = new Set<number>()
  for (let n = 1 + below(4); n > 0; n--) {
    const page = below(Math.floor(image.length / pageSize))
    pages.add(page)
    if (below(3) === 0)
      bytes.fill(below(2) === 0 ? 0 : 0xff, page * pageSize, (page + 1) * pageSize)
    else {
      const at = page * pageSize + below(below(2) === 0 ? 128 : pageSize)
      bytes.writeUInt8((bytes[at] ?? 0) ^ (1 << below(8)), at)
    }
  }
  return { bytes, pages }
}

/** Every pair of an undamaged database in the state of `meta`. */
export function storedIn(image: Buffer, meta: Meta): Stored[] {
  const pageAt = (id: number): Page => {
    const at = id * meta.pageSize
    const span = 1 + image.readUInt32LE(at + 12)
    return parsePage(id, image.subarray(at, at + span * meta.pageSize))
  }
  const walk = (page: Page, bucket: readonly string[], above: readonly number[]): Stored[] => {
    const own = page.id === 0 ? [] : Array.from({ length: page.span }, (_, i) => page.id + i)
    const pages = [...above, ...own]
    return Array.from({ length: page.count }, (_, i) => i).flatMap((i): Stored[] => {
      if (!page.leaf) return walk(pageAt(page.childAt(i)), bucket, pages)
      const { key, value, isBucket } = page.itemAt(i)
      const name = key.toString('latin1')
      if (!isBucket) return [{ bucket, key: name, value: value.toString('latin1'), pages }]
      const root = readUint64(value, 0)
      const inner = root === 0 ? parsePage(0, value.subarray(bucketHeaderSize)) : pageAt(root)
      return walk(inner, [...bucket, name], pages)
    })
  }
  return walk(pageAt(meta.root), [], [])
}

/** Salvages an image. The database it was written to, which is sound, and the report. */
export async function rescue(image: Buffer): Promise<{ db: Database; report: SalvageReport }> {
  const file = new MemoryFile()
  const db = await openFile(file, { noSync: true })
  const report = await salvage(new MemoryFile(image), db)
  const check = await checkFile(new MemoryFile(afterKill(file.steps)))
  assert.deepEqual([check.sound, check.problems], [true, []])
  return { db, report }
}

/** The value of a pair in another database. */
export function valueAt(root: ReadBucket, { bucket, key }: Stored): string | undefined {
  const inner = bucket.reduce<ReadBucket | undefined>((at, name) => at?.bucket(name), root)
  const value = inner?.get(key)
  return value && Buffer.from(value).toString('latin1')
}

/** Fails unless `db` holds every pair of `stored` whose pages are all as they were. */
export function assertHolds(
  db: Database,
  stored: readonly Stored[],
  damaged: ReadonlySet<number>,
): void {
  db.view((tx) => {
    for (const pair of stored) {
      if (pair.pages.some((page) => damaged.has(page))) continue
      assert.equal(valueAt(tx, pair), pair.value, `${pair.bucket.join('/')}/${pair.key}`)
    }
  })
}

/** Damages an image and fails unless all is rescued whose pages are as they were. */
export async function damageAndRescue(
  image: Buffer,
  below: (limit: number) => number,
  count: (what: string, times?: number) => void,
): Promise<void> {
  const { bytes, pages } = damage(image, below)
  const check = await checkFile(new MemoryFile(bytes))
  const { db, report } = await rescue(bytes)
  count(check.sound ? 'not noticed' : 'noticed')
  count('losses', report.losses.length)
  const [state] = readMetas(new MemoryFile(bytes))
  if (state !== undefined) assertHolds(db, storedIn(image, state), pages)
  else assert.equal(report.certain, false)
}
