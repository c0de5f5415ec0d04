import type { Database, ReadBucket } from './database.ts'
import { readLoosely } from './loose.ts'
import type { LeafElement } from './page.ts'
import type { Range } from './range.ts'
import { readLinks, type Start } from './roots.ts'

/** A leaf that nothing refers to, and that can only belong to one of the ranges that are lost. */
export interface Orphan {
  readonly range: Range
  readonly page: number
  readonly items: readonly LeafElement[]
}

/**
 * Finds leaves for `ranges` among the pages that are not `seen`. A leaf qualifies when it is whole,
 * its keys are all in the range, its pairs are of the kind that the rest of the bucket in `out` has,
 * and nothing says that it was a bucket of its own. A range without any limit fits every leaf, so
 * nothing is taken for it.
 */
export async function orphansFor(
  ranges: readonly Range[],
  { ground, free }: Start,
  seen: Uint8Array,
  out: Database,
): Promise<Orphan[]> {
  const limited = ranges
    .filter(({ from, below }) => from !== undefined || below !== undefined)
    .map((range) => ({ range, kind: out.view((tx) => kindOf(bucketAt(tx, range.bucket))) }))
    .filter(({ kind }) => kind !== undefined)
  if (limited.length === 0) return []
  const links = await readLinks(ground)
  const roots = new Set([...links.values()].flatMap(({ leaf, to }) => (leaf ? to : [])))
  return [...links].flatMap(([page, { leaf, pairs }]): Orphan[] => {
    if (!leaf || pairs === 0 || roots.has(page) || free.has(page) || seen[page] !== 0) return []
    const found = limited.flatMap(({ range, kind }) => {
      const items = itemsIn(ground, page, range)
      return items.length > 0 && kindOfItems(items) === kind ? [{ range, page, items }] : []
    })
    return found.length === 1 ? found : []
  })
}

function itemsIn(ground: Start['ground'], page: number, range: Range): readonly LeafElement[] {
  const { file, pageSize } = ground
  const head = Buffer.alloc(16)
  file.read(head, page * pageSize)
  const buf = Buffer.alloc((1 + head.readUInt32LE(12)) * pageSize)
  file.read(buf, page * pageSize)
  const read = readLoosely(buf, range)
  return read?.leaf === true && read.faults.length === 0 ? read.items : []
}

type Kind = 'buckets' | 'values'

const kindOfItems = (items: readonly LeafElement[]): Kind | undefined =>
  kindFrom(items.map(({ isBucket }) => isBucket))

/** What a bucket holds; undefined when it is both, or nothing. */
const kindOf = (bucket: ReadBucket | undefined): Kind | undefined =>
  kindFrom(Array.from(bucket?.entries() ?? [], ({ value }) => value === undefined))

function kindFrom(areBuckets: readonly boolean[]): Kind | undefined {
  if (areBuckets.length === 0) return undefined
  if (areBuckets.every(Boolean)) return 'buckets'
  return areBuckets.some(Boolean) ? undefined : 'values'
}

const bucketAt = (root: ReadBucket, names: readonly Buffer[]): ReadBucket | undefined =>
  names.reduce<ReadBucket | undefined>((bucket, name) => bucket?.bucket(name), root)
