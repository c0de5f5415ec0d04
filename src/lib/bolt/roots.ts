import { readUint64 } from './bytes.ts'
import type { BoltFile } from './file.ts'
import { readFreePages } from './free-pages.ts'
import { extent, readLoosely } from './loose.ts'
import { type Meta, metaFields, metaSize, noFreelist } from './meta.ts'
import { pageSizeOf, readMetas } from './metas.ts'
import { bucketHeaderSize, pageHeaderSize } from './page.ts'
import type { Ground } from './walk.ts'

/** A state that a file may be read as. */
export interface Start {
  readonly ground: Ground
  readonly root: number
  readonly sequence: bigint
  /** Pages that its list says are free. */
  readonly free: ReadonlySet<number>
  /** Where it is known from, in words. */
  readonly source: string
  /** False when nothing vouches for it. */
  readonly certain: boolean
}

/** After this many pages others may run. */
const slice = 256

/**
 * The states `file` may be read as, the best first: those of its valid metas; when there is none,
 * pages that are roots by what they hold and that no page refers to.
 */
export async function startsOf(file: BoltFile, signal?: AbortSignal): Promise<Start[]> {
  const metas = readMetas(file)
  if (metas.length === 0) return await guessStarts(file, signal)
  return metas.map((meta) => ({
    ground: { file, pageSize: meta.pageSize, highWater: meta.highWater },
    root: meta.root,
    sequence: meta.sequence,
    free: freeIn(file, meta),
    source: `transaction ${meta.txid}`,
    certain: true,
  }))
}

function freeIn(file: BoltFile, meta: Meta): ReadonlySet<number> {
  const found = meta.freelist === noFreelist ? undefined : readFreePages(file, meta)
  return new Set(typeof found === 'object' ? found.free : [])
}

async function guessStarts(file: BoltFile, signal?: AbortSignal): Promise<Start[]> {
  const pageSize = pageSizeOf(file)
  const ground = { file, pageSize, highWater: Math.floor(file.size() / pageSize) }
  const links = await readLinks(ground, signal)
  const referred = new Set([...links.values()].flatMap(({ to }) => to))
  const roots = [...links].filter(([id, { root }]) => root && !referred.has(id))
  const hints = metaHints(file, pageSize)
  const weigh = weigher(links)
  return roots
    .map(([root]) => ({ root, hint: hints.get(root), weight: weigh(root) }))
    .toSorted((a, b) => (b.hint?.txid ?? -1) - (a.hint?.txid ?? -1) || b.weight - a.weight)
    .map(({ root, hint }) => ({
      ground,
      root,
      sequence: hint?.sequence ?? 0n,
      free: new Set<number>(),
      source: hint === undefined ? `page ${root}, which looks like a root` : 'a damaged meta page',
      certain: false,
    }))
}

/** Which roots the damaged metas name. */
function metaHints(file: BoltFile, pageSize: number) {
  const hints = new Map<number, { readonly txid: number; readonly sequence: bigint }>()
  for (const page of [0, 1]) {
    const buf = Buffer.alloc(metaSize)
    if (file.read(buf, page * pageSize) < metaSize) continue
    const { root, txid, sequence } = metaFields(buf.subarray(pageHeaderSize))
    const known = hints.get(root)
    if (txid >= 0 && (known === undefined || txid > known.txid)) hints.set(root, { txid, sequence })
  }
  return hints
}

/** What a page refers to, how many pairs it has, and whether it may be a root. */
export interface Links {
  readonly leaf: boolean
  readonly to: readonly number[]
  readonly pairs: number
  /** The root bucket has no pairs but buckets. Of a branch this is not known. */
  readonly root: boolean
}

/** Reads every page of the file that looks like one of a tree. */
export async function readLinks(ground: Ground, signal?: AbortSignal): Promise<Map<number, Links>> {
  const links = new Map<number, Links>()
  for (let id = 2; id < ground.highWater; id++) {
    if (id % slice === 0) {
      signal?.throwIfAborted()
      await new Promise((resolve) => setImmediate(resolve))
    }
    const found = linksOf(ground, id)
    if (found !== undefined) links.set(id, found)
  }
  return links
}

function linksOf({ file, pageSize, highWater }: Ground, id: number): Links | undefined {
  const first = Buffer.alloc(pageSize)
  file.read(first, id * pageSize)
  const span = 1 + first.readUInt32LE(12)
  if (readUint64(first, 0) !== id || id + span > highWater) return undefined
  if (span > 1 + Math.ceil(extent(first) / pageSize)) return undefined
  const buf = span === 1 ? first : Buffer.alloc(span * pageSize)
  if (span > 1) file.read(buf, id * pageSize)
  const page = readLoosely(buf, {})
  if (page === undefined || page.faults.length > 0) return undefined
  if (!page.leaf) {
    return { leaf: false, to: page.children.map((child) => child.page), pairs: 0, root: true }
  }
  const buckets = page.items.filter(({ isBucket }) => isBucket)
  const roots = buckets.map(({ value }) =>
    value.length < bucketHeaderSize ? 0 : readUint64(value, 0),
  )
  const { length } = page.items
  const root = length === buckets.length
  return { leaf: true, to: roots.filter((each) => each > 1), pairs: length, root }
}

/** Says how many pairs can be reached from a page. */
function weigher(links: ReadonlyMap<number, Links>): (root: number) => number {
  const weights = new Map<number, number>()
  return (root) => {
    const stack = [root]
    for (let id = stack.at(-1); id !== undefined; id = stack.at(-1)) {
      const { to = [], pairs = 0 } = links.get(id) ?? {}
      const first = !weights.has(id)
      if (first) weights.set(id, 0)
      const open = first ? to.filter((next) => !weights.has(next)) : []
      stack.push(...open)
      if (open.length > 0) continue
      weights.set(
        id,
        to.reduce((sum, next) => sum + (weights.get(next) ?? 0), pairs),
      )
      stack.pop()
    }
    return weights.get(root) ?? 0
  }
}
