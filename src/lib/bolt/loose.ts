import { readUint64 } from './bytes.ts'
import {
  branchFlag,
  elementSize,
  type LeafElement,
  leafFlag,
  maxKeySize,
  pageHeaderSize,
} from './page.ts'
import { inRange } from './range.ts'

/*
 * Pages read element by element, so that one wrong byte hides one pair and not the page. Compare
 * `parsePage`, which takes a page as a whole or not at all.
 */

/** What of a page can be read, and what is wrong with the rest. */
export type LoosePage = LooseLeaf | LooseBranch

interface Loose {
  readonly faults: readonly Fault[]
  /** Whether most of its keys are out of bounds: it is a page of another place. */
  readonly strange: boolean
}

export interface LooseLeaf extends Loose {
  readonly leaf: true
  readonly items: readonly LeafElement[]
}

export interface LooseBranch extends Loose {
  readonly leaf: false
  readonly children: readonly Child[]
}

export interface Child {
  readonly key: Buffer
  readonly page: number
}

/** Elements of a page that cannot be read. */
export interface Fault {
  readonly message: string
  /** The keys of the sound elements around them; undefined at the ends of the page. */
  readonly after: Buffer | undefined
  readonly before: Buffer | undefined
}

/** The keys that a page may have. */
export interface Bounds {
  readonly from?: Buffer | undefined
  readonly below?: Buffer | undefined
}

/** Reads a page as its flags say; undefined when they say that it is neither branch nor leaf. */
export function readLoosely(buf: Buffer, bounds: Bounds): LoosePage | undefined {
  const flags = buf.length < pageHeaderSize ? 0 : buf.readUInt16LE(8)
  if (flags === leafFlag) {
    const { sound, ...rest } = readElements(buf, bounds, leafElement)
    return { leaf: true, items: sound, ...rest }
  }
  if (flags !== branchFlag) return undefined
  const { sound, ...rest } = readElements(buf, bounds, branchElement)
  return { leaf: false, children: sound, ...rest }
}

/**
 * Where what a page holds ends, as far as its first bytes say, which `buf` has; a page whose elements
 * go on beyond them may be of any length.
 */
export function extent(buf: Buffer): number {
  const leaf = buf.readUInt16LE(8) === leafFlag
  const end = pageHeaderSize + buf.readUInt16LE(10) * elementSize
  if (end > buf.length) return Infinity
  let last = end
  for (let at = pageHeaderSize; at < end; at += elementSize) {
    const second = buf.readUInt32LE(at + 4)
    const rest = leaf ? buf.readUInt32LE(at + 8) + buf.readUInt32LE(at + 12) : buf.readUInt32LE(at)
    last = Math.max(last, at + second + rest)
  }
  return last
}

/** What an element says, or what is wrong with it. */
type Reader<T> = (buf: Buffer, at: number, end: number) => T | string

const leafElement: Reader<LeafElement> = (buf, at, end) => {
  const flags = buf.readUInt32LE(at)
  const start = at + buf.readUInt32LE(at + 4)
  const middle = start + buf.readUInt32LE(at + 8)
  const last = middle + buf.readUInt32LE(at + 12)
  if (flags > 1) return `has flags 0x${flags.toString(16)}`
  if (start < end || last > buf.length) return 'points outside its page'
  const wrong = wrongKey(middle - start)
  if (wrong !== undefined) return wrong
  return {
    key: buf.subarray(start, middle),
    value: buf.subarray(middle, last),
    isBucket: flags === 1,
  }
}

const branchElement: Reader<Child> = (buf, at, end) => {
  const start = at + buf.readUInt32LE(at)
  const last = start + buf.readUInt32LE(at + 4)
  if (start < end || last > buf.length) return 'points outside its page'
  const wrong = wrongKey(last - start)
  return wrong ?? { key: buf.subarray(start, last), page: readUint64(buf, at + 8) }
}

function wrongKey(length: number): string | undefined {
  if (length === 0) return 'has an empty key'
  return length > maxKeySize ? `has a key of ${length} bytes` : undefined
}

function readElements<T extends { readonly key: Buffer }>(
  buf: Buffer,
  bounds: Bounds,
  read: Reader<T>,
): Loose & { readonly sound: T[] } {
  const count = buf.readUInt16LE(10)
  let all = elementsIn(buf, bounds, read, count)
  const table = tableLength(buf)
  const hopeless = all.length > table && all.every((element) => typeof element === 'string')
  if (hopeless) all = elementsIn(buf, bounds, read, table)
  const kept = new Set(longestAscent(all))
  const faults = faultsOf(all, kept)
  if (all.length < count) {
    const after = all.findLast((_, i) => kept.has(i))
    const message = `says that it has ${count} elements: more than fit`
    faults.push({ message, after: keyOf(after), before: undefined })
  }
  const sound = all.filter((element, i): element is T => kept.has(i) && typeof element !== 'string')
  const strangers = all.filter((element) => element === stranger).length
  return { sound, faults, strange: strangers * 2 > all.length }
}

/** What an element is that is sound but for its place. */
const stranger = 'has a key that belongs elsewhere'

/** The first `count` elements, or as many as fit. */
function elementsIn<T extends { readonly key: Buffer }>(
  buf: Buffer,
  bounds: Bounds,
  read: Reader<T>,
  count: number,
): (T | string)[] {
  const length = Math.min(count, Math.floor((buf.length - pageHeaderSize) / elementSize))
  const end = pageHeaderSize + length * elementSize
  return Array.from({ length }, (_, i): T | string => {
    const element = read(buf, pageHeaderSize + i * elementSize, end)
    return typeof element === 'string' || inRange(bounds, element.key) ? element : stranger
  })
}

/** How many elements there are when the first key begins where they end, as it does in all pages. */
function tableLength(buf: Buffer): number {
  if (buf.length < pageHeaderSize + elementSize) return 0
  const leaf = buf.readUInt16LE(8) === leafFlag
  return Math.floor(buf.readUInt32LE(pageHeaderSize + (leaf ? 4 : 0)) / elementSize)
}

const keyOf = (element: { readonly key: Buffer } | string | undefined): Buffer | undefined =>
  typeof element === 'string' ? undefined : element?.key

/** One fault for each run of elements that are not kept. */
function faultsOf(
  all: readonly ({ readonly key: Buffer } | string)[],
  kept: ReadonlySet<number>,
): Fault[] {
  const faults: Fault[] = []
  for (let first = 0; first < all.length; first++) {
    if (kept.has(first)) continue
    let next = first + 1
    while (next < all.length && !kept.has(next)) next++
    const element = all[first]
    const wrong = typeof element === 'string' ? element : 'has a key out of order'
    const more = next - first - 1
    const message = `element ${first} ${wrong}${more > 0 ? `, and ${more} after it are wrong too` : ''}`
    faults.push({ message, after: keyOf(all[first - 1]), before: keyOf(all[next]) })
    first = next
  }
  return faults
}

/**
 * The indexes of as many elements as possible whose keys ascend: of two that are out of order it is
 * the one that most others agree with that stays. What is no element is left out.
 */
function longestAscent(all: readonly ({ readonly key: Buffer } | string)[]): number[] {
  /** `tails[n]`: where the ascent of n + 1 elements with the lowest last key ends. */
  const tails: number[] = []
  const previous = new Map<number, number | undefined>()
  for (const [i, element] of all.entries()) {
    const key = keyOf(element)
    if (key === undefined) continue
    let low = tails.length
    // Nearly always the key is above all before it; else the place is searched from the end.
    while (low > 0 && (keyOf(all[tails[low - 1] ?? 0])?.compare(key) ?? 0) >= 0) low--
    previous.set(i, tails[low - 1])
    tails[low] = i
  }
  const ascent: number[] = []
  for (let at = tails.at(-1); at !== undefined; at = previous.get(at)) ascent.push(at)
  return ascent.toReversed()
}
