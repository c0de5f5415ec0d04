import { readUint64 } from './bytes.ts'
import type { Ref, Tree } from './node.ts'
import { branchFlag, bucketHeaderSize, elementSize, leafFlag, pageHeaderSize } from './page.ts'
import type { Pager } from './pager.ts'
import { treeOf } from './tree.ts'

/** Pages in a row. */
export interface Span {
  readonly start: number
  readonly span: number
}

/** How many pages they are. */
export const pagesIn = (spans: readonly Pick<Span, 'span'>[]): number =>
  spans.reduce((sum, { span }) => sum + span, 0)

/** How a page hangs together with others. */
interface Outline {
  readonly span: number
  /** The pages it refers to: children, or the roots of the buckets in it. */
  readonly below: readonly number[]
}

/**
 * Every page under `tree` that takes room in the file, nested buckets included. Keys and values are
 * not read, and no page is kept: what a bucket holds may be much more than there is memory.
 *
 * @throws `data_loss` when there are more than `limit`, which is more than the file has.
 */
export function* spansOf(pager: Pager, tree: Tree, limit: number): Generator<Span> {
  const stack: Ref[] = [tree.root]
  const scratch = Buffer.allocUnsafeSlow(pager.pageSize)
  let left = limit
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    if (typeof next !== 'number') {
      for (let i = 0; i < next.count; i++) {
        if (!next.leaf) stack.push(next.childAt(i))
        else if (next.isBucketAt(i)) stack.push(treeOf(next.itemAt(i)).root)
      }
      continue
    }
    if (left-- === 0) throw pager.damaged('pages are nested in a loop')
    const { span, below } = readOutline(pager, next, scratch)
    yield { start: next, span }
    stack.push(...below)
  }
}

/** Reads the outline of page `id`, into `scratch` and for long pages into more. */
function readOutline(pager: Pager, id: number, scratch: Buffer): Outline {
  pager.readFirst(id, scratch)
  const span = 1 + scratch.readUInt32LE(12)
  const part = new Part(pager, id, scratch, span)
  const flags = scratch.readUInt16LE(8)
  if (flags === leafFlag) return { span, below: part.bucketRoots(0, part.length) }
  if (flags === branchFlag) return { span, below: part.children() }
  throw pager.damaged(`page ${id} is neither branch nor leaf`)
}

/** A page of which only the beginning is in memory. */
class Part {
  readonly length: number
  readonly #pager: Pager
  readonly #id: number
  readonly #first: Buffer

  constructor(pager: Pager, id: number, first: Buffer, span: number) {
    this.#pager = pager
    this.#id = id
    this.#first = first
    this.length = span * pager.pageSize
  }

  children(): number[] {
    const count = this.#count(0, this.length)
    const elements = this.#at(pageHeaderSize, count * elementSize)
    return Array.from({ length: count }, (_, i) => readUint64(elements, i * elementSize + 8))
  }

  /** The roots of the buckets in the leaf that lies at `base`, and in inline buckets of it. */
  bucketRoots(base: number, end: number): number[] {
    const roots: number[] = []
    const count = this.#count(base, end)
    const elements = this.#at(base + pageHeaderSize, count * elementSize)
    for (let i = 0; i < count; i++) {
      const at = i * elementSize
      const start = base + pageHeaderSize + at + elements.readUInt32LE(at + 4)
      const value = start + elements.readUInt32LE(at + 8)
      const last = value + elements.readUInt32LE(at + 12)
      if (last > end) throw this.#damaged('points outside itself')
      if ((elements.readUInt32LE(at) & 1) === 0) continue
      if (last - value < bucketHeaderSize) throw this.#damaged('has a bucket that is cut short')
      const root = readUint64(this.#at(value, bucketHeaderSize), 0)
      if (root !== 0) roots.push(root)
      else roots.push(...this.bucketRoots(value + bucketHeaderSize, last))
    }
    return roots
  }

  #count(base: number, end: number): number {
    if (base + pageHeaderSize > end) throw this.#damaged('has a bucket that is cut short')
    const count = this.#at(base, pageHeaderSize).readUInt16LE(10)
    if (base + pageHeaderSize + count * elementSize <= end) return count
    throw this.#damaged('points outside itself')
  }

  #at(offset: number, length: number): Buffer {
    const end = offset + length
    if (end <= this.#first.length) return this.#first.subarray(offset, end)
    const buf = Buffer.allocUnsafeSlow(length)
    this.#pager.read(buf, this.#id * this.#pager.pageSize + offset)
    return buf
  }

  #damaged(what: string): Error {
    return this.#pager.damaged(`page ${this.#id} ${what}`)
  }
}
