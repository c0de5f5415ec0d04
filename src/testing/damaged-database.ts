import type { Bucket } from '#lib/bolt/database.ts'
import { readUint64 } from '#lib/bolt/bytes.ts'
import type { Meta } from '#lib/bolt/meta.ts'
import { openFile } from '#lib/bolt/open.ts'
import { bucketHeaderSize, type Page, parsePage } from '#lib/bolt/page.ts'

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
