import { readUint64 } from './bytes.ts'
import type { BoltFile } from './file.ts'
import {
  type Bounds,
  extent,
  type Fault,
  type LooseBranch,
  type LooseLeaf,
  readLoosely,
} from './loose.ts'
import { bucketHeaderSize, type LeafElement, pageHeaderSize } from './page.ts'
import type { Problem, ProblemKind } from './problem.ts'
import { bucketText, type Range } from './range.ts'

/** A page of a tree as it was found, with what of it can be read. */
export interface Visit {
  /** The names of the buckets from the root to the one it belongs to. */
  readonly bucket: readonly Buffer[]
  /** 0 for the page of an inline bucket. */
  readonly id: number
  readonly span: number
  /** The pairs of a leaf; undefined for a branch. */
  readonly items: readonly LeafElement[] | undefined
}

/** What a walk needs to know of a file. */
export interface Ground {
  readonly file: BoltFile
  readonly pageSize: number
  /** The first page that was never used. */
  readonly highWater: number
}

/** What a page is when it is met more often than it may be. */
const twice = 'is used twice'

/** How to go. */
export interface Manner {
  /** How often a page may be entered when several others refer to it; 1 when missing. */
  readonly visits?: number
  /** What another walk has met. */
  readonly seen?: Uint8Array
}

/** Where a walk goes next: a page, or the bytes of an inline one. */
interface Step extends Bounds {
  readonly at: number | Buffer
  readonly bucket: readonly Buffer[]
  /** The step that led here. */
  readonly up: Step | undefined
  readonly depth: number
}

/** Deeper than any sound bucket, and than any nest of buckets. */
const maxDepth = 1000

/**
 * Goes through trees that may be damaged: it goes on beside what cannot be read, and reports it.
 * It keeps no pages, so files of any size can be walked.
 */
export class Walker {
  /** How often each page was met. */
  readonly seen: Uint8Array
  readonly #ground: Ground
  readonly #fileSize: number
  readonly #report: (problem: Problem) => void
  readonly #visits: number

  constructor(ground: Ground, report: (problem: Problem) => void, manner: Manner = {}) {
    this.#ground = ground
    this.#fileSize = ground.file.size()
    this.#report = report
    this.#visits = manner.visits ?? 1
    this.seen = manner.seen ?? new Uint8Array(Math.min(ground.highWater, this.pagesInFile))
  }

  get pagesInFile(): number {
    return Math.floor(this.#fileSize / this.#ground.pageSize)
  }

  /** Every page of the bucket whose root is page `root`, and of those in it, in key order. */
  *walk(root: number): Generator<Visit> {
    yield* this.#go([{ at: root, bucket: [], up: undefined, depth: 0 }])
  }

  /** Every page of the buckets in a leaf. */
  *below({ bucket, id, items = [] }: Visit): Generator<Visit> {
    yield* this.#go(this.#bucketSteps(items, { at: id, bucket, up: undefined, depth: 0 }))
  }

  *#go(steps: Step[]): Generator<Visit> {
    for (let step = steps.pop(); step !== undefined; step = steps.pop()) {
      const { at, bucket } = step
      const buf = typeof at === 'number' ? this.#enter(at, step) : at
      if (buf === undefined) continue
      const page = this.#read(buf, step)
      if (page === undefined) continue
      const [id, span] = typeof at === 'number' ? [at, buf.length / this.#ground.pageSize] : [0, 0]
      yield { bucket, id, span, items: page.leaf ? page.items : undefined }
      for (const next of this.#stepsFrom(page, step).toReversed()) steps.push(next)
    }
  }

  /** The bytes of page `id`, which counts as met from now on. */
  #enter(id: number, step: Step): Buffer | undefined {
    const fail = (message: string): undefined => this.#lose(message, step)
    if (!(id > 1 && id < this.#ground.highWater)) return fail('is not there')
    if (id >= this.pagesInFile) return fail('lies beyond the end of the file')
    if (step.depth > maxDepth) return fail('is nested too deeply')
    const first = this.#bytes(id, 1)
    if (first === undefined) return fail('cannot be read from the disk')
    if (readUint64(first, 0) !== id) {
      const zero = first.every((byte) => byte === 0)
      return fail(zero ? 'is all zero' : `has the id ${readUint64(first, 0)} in it`)
    }
    const span = this.#spanOf(id, first, step)
    if (id + span > this.seen.length) return fail(`says that ${span} pages belong to it`)
    if (!this.#count(id, span, step)) return undefined
    return span === 1 ? first : (this.#bytes(id, span) ?? fail('cannot be read from the disk'))
  }

  /** How many pages a page takes, for which it is asked and which what it holds has to need. */
  #spanOf(id: number, first: Buffer, { bucket }: Step): number {
    const span = 1 + first.readUInt32LE(12)
    // Old releases of bbolt took one page too many when all were full.
    const most = Math.ceil(extent(first) / this.#ground.pageSize) + 1
    if (span <= most) return span
    const message = `says that ${span} pages belong to it, and needs ${most - 1}`
    this.#report({
      kind: 'page',
      severity: 'damage',
      page: id,
      message: `${message}: ${bucketText(bucket)}`,
    })
    return most - 1
  }

  /** Counts pages as met. Whether they may be entered. */
  #count(id: number, span: number, step: Step): boolean {
    let most = 0
    for (let i = id; i < id + span; i++) {
      const times = Math.min(255, (this.seen[i] ?? 0) + 1)
      this.seen[i] = times
      most = Math.max(most, times)
    }
    if (most === 1) return true
    if (most > this.#visits || isInside(step)) this.#lose(twice, step)
    else this.#report({ kind: 'page', severity: 'damage', page: id, message: twice })
    return most <= this.#visits && !isInside(step)
  }

  #bytes(id: number, span: number): Buffer | undefined {
    const { file, pageSize } = this.#ground
    const buf = Buffer.allocUnsafeSlow(span * pageSize)
    return file.read(buf, id * pageSize) === buf.length ? buf : undefined
  }

  #read(buf: Buffer, step: Step): LooseLeaf | LooseBranch | undefined {
    const page = readLoosely(buf, step)
    if (page === undefined) return this.#lose('is neither branch nor leaf', step)
    if (page.strange) return this.#lose('has keys of another place', step)
    const elements = page.leaf ? page.items : page.children
    if (elements.length === 0 && page.faults.length > 0) {
      return this.#lose('has no element that can be read', step)
    }
    if (!page.leaf && elements.length === 0) {
      return this.#lose('is a branch without children', step)
    }
    for (const fault of page.faults) this.#reportFault(fault, step)
    return page
  }

  #stepsFrom(page: LooseLeaf | LooseBranch, step: Step): Step[] {
    if (page.leaf) return this.#bucketSteps(page.items, step)
    const { bucket, depth } = step
    return page.children.map(({ key, page: at }, i) => {
      const below = page.children[i + 1]?.key ?? step.below
      return { at, bucket, up: step, depth: depth + 1, from: key, below }
    })
  }

  #bucketSteps(items: readonly LeafElement[], step: Step): Step[] {
    return items.flatMap(({ key, value, isBucket }) => {
      if (!isBucket) return []
      const at = this.#bucketRoot(value)
      const bucket = [...step.bucket, Buffer.from(key)]
      const next: Step = { at: at ?? value, bucket, up: step, depth: step.depth + 1 }
      if (at !== undefined) return [next]
      this.#lose('has a bucket that is cut short', next)
      return []
    })
  }

  /** Where the pairs of a bucket are, from its value; undefined when it does not say. */
  #bucketRoot(value: Buffer): number | Buffer | undefined {
    if (value.length < bucketHeaderSize) return undefined
    const root = readUint64(value, 0)
    if (root !== 0) return root
    const inline = value.subarray(bucketHeaderSize)
    return inline.length < pageHeaderSize ? undefined : inline
  }

  #lose(message: string, step: Step, kind: ProblemKind = 'page'): undefined {
    const { bucket, from, below } = step
    const lost: Range = { bucket, from: copy(from), below: copy(below) }
    this.#report({ kind, severity: 'damage', page: pageOf(step), message, lost })
  }

  #reportFault({ message, after, before }: Fault, step: Step): void {
    this.#lose(message, { ...step, from: after ?? step.from, below: before ?? step.below }, 'pair')
  }
}

/** The page a step goes to, or that has the inline one. */
function pageOf(step: Step): number {
  let next: Step | undefined = step
  while (typeof next?.at === 'object') next = next.up
  return typeof next?.at === 'number' ? next.at : 0
}

/** Whether a step leads back to a page it came through. */
function isInside(step: Step): boolean {
  for (let up = step.up; up !== undefined; up = up.up) if (up.at === step.at) return true
  return false
}

/** In memory of its own, so that a report does not hold on to pages. */
const copy = (key: Buffer | undefined): Buffer | undefined => key && Buffer.from(key)
