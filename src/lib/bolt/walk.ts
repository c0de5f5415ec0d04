import { readUint64 } from './bytes.ts'
import type { BoltFile } from './file.ts'
import { type Bounds, type Fault, type LooseBranch, type LooseLeaf, readLoosely } from './loose.ts'
import { bucketHeaderSize, type LeafElement, pageHeaderSize } from './page.ts'
import { bucketText, type Problem, type ProblemKind, type Range } from './problem.ts'

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

/** Where a walk goes next: a page, or the bytes of an inline one. */
interface Step extends Bounds {
  readonly at: number | Buffer
  readonly bucket: readonly Buffer[]
  /** The page that led here. */
  readonly by: number
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

  /** `visits` says how often a page may be entered when several others refer to it. */
  constructor(ground: Ground, report: (problem: Problem) => void, visits = 1) {
    this.#ground = ground
    this.#fileSize = ground.file.size()
    this.#report = report
    this.#visits = visits
    this.seen = new Uint8Array(Math.min(ground.highWater, this.pagesInFile))
  }

  get pagesInFile(): number {
    return Math.floor(this.#fileSize / this.#ground.pageSize)
  }

  /** Every page of the bucket whose root is page `root`, and of those in it, in key order. */
  *walk(root: number, bucket: readonly Buffer[] = []): Generator<Visit> {
    const steps: Step[] = [{ at: root, bucket, by: 0, depth: 0 }]
    for (let step = steps.pop(); step !== undefined; step = steps.pop()) {
      const buf = typeof step.at === 'number' ? this.#enter(step.at, step) : step.at
      if (buf === undefined) continue
      const id = typeof step.at === 'number' ? step.at : 0
      const page = this.#read(id, buf, step)
      if (page === undefined) continue
      const span = id === 0 ? 0 : buf.length / this.#ground.pageSize
      const items = page.leaf ? page.items : undefined
      yield { bucket: step.bucket, id, span, items }
      for (const next of this.#stepsFrom(page, id, step).toReversed()) steps.push(next)
    }
  }

  /** The bytes of page `id`, which counts as met from now on. */
  #enter(id: number, step: Step): Buffer | undefined {
    const fail = (message: string): undefined => this.#lose('page', id, message, step)
    if (!(id > 1 && id < this.#ground.highWater)) {
      const page = step.by
      return this.#lose('page', page, `refers to page ${id}, which there is not`, step)
    }
    if (id >= this.pagesInFile) return fail('lies beyond the end of the file')
    if (step.depth > maxDepth) return fail('is nested too deeply')
    const first = this.#bytes(id, 1)
    if (first === undefined) return fail('cannot be read from the disk')
    if (readUint64(first, 0) !== id) {
      const zero = first.every((byte) => byte === 0)
      return fail(zero ? 'is all zero' : `has the id ${readUint64(first, 0)} in it`)
    }
    const span = 1 + first.readUInt32LE(12)
    if (id + span > this.seen.length) return fail(`says that ${span} pages belong to it`)
    if (!this.#count(id, span)) return fail(twice)
    if (span === 1) return first
    return this.#bytes(id, span) ?? fail('cannot be read from the disk')
  }

  /** Counts pages as met. Whether they may be entered. */
  #count(id: number, span: number): boolean {
    let most = 0
    for (let i = id; i < id + span; i++) {
      const times = Math.min(255, (this.seen[i] ?? 0) + 1)
      this.seen[i] = times
      most = Math.max(most, times)
    }
    if (most > 1 && most <= this.#visits) {
      this.#report({ kind: 'page', severity: 'damage', page: id, message: twice })
    }
    return most <= this.#visits
  }

  #bytes(id: number, span: number): Buffer | undefined {
    const { file, pageSize } = this.#ground
    const buf = Buffer.allocUnsafeSlow(span * pageSize)
    try {
      return file.read(buf, id * pageSize) === buf.length ? buf : undefined
    } catch {
      return undefined
    }
  }

  #read(id: number, buf: Buffer, step: Step): LooseLeaf | LooseBranch | undefined {
    const page = readLoosely(buf, step)
    if (page === undefined) {
      return this.#lose('page', id || step.by, 'is neither branch nor leaf', step)
    }
    if (page.strange) return this.#lose('page', id || step.by, 'has keys of another place', step)
    const elements = page.leaf ? page.items : page.children
    if (elements.length === 0 && page.faults.length > 0) {
      return this.#lose('page', id || step.by, 'has no element that can be read', step)
    }
    if (!page.leaf && elements.length === 0) {
      return this.#lose('page', id || step.by, 'is a branch without children', step)
    }
    for (const fault of page.faults) this.#reportFault(id || step.by, fault, step)
    return page
  }

  #stepsFrom(page: LooseLeaf | LooseBranch, by: number, step: Step): Step[] {
    const depth = step.depth + 1
    if (!page.leaf) {
      const { children } = page
      return children.map(({ key, page: at }, i) => {
        const below = children[i + 1]?.key ?? step.below
        return { at, bucket: step.bucket, by, depth, from: key, below }
      })
    }
    return page.items.flatMap(({ key, value, isBucket }) => {
      if (!isBucket) return []
      const at = this.#bucketRoot(value)
      const bucket = [...step.bucket, Buffer.from(key)]
      const next: Step = { at: at ?? 0, bucket, by: by || step.by, depth }
      if (at !== undefined) return [next]
      this.#lose('bucket', next.by, `has a broken header for ${bucketText(bucket)}`, next)
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

  #lose(kind: ProblemKind, page: number, message: string, range: Range): undefined {
    const { bucket, from, below } = range
    this.#report({
      kind,
      severity: 'damage',
      page,
      message,
      lost: { bucket, from: copy(from), below: copy(below) },
    })
  }

  #reportFault(page: number, { message, after, before }: Fault, step: Step): void {
    const range = { bucket: step.bucket, from: after ?? step.from, below: before ?? step.below }
    this.#lose('pair', page, message, range)
  }
}

/** In memory of its own, so that a report does not hold on to pages. */
const copy = (key: Buffer | undefined): Buffer | undefined => key && Buffer.from(key)
