import type { BoltFile } from './file.ts'
import { type FreePages, readFreePages } from './free-pages.ts'
import { type Meta, metaSize, noFreelist, readMetaPage } from './meta.ts'
import { pageSizeOf, withFollowers } from './metas.ts'
import type { Problem } from './problem.ts'
import { withoutErrors } from './unreadable.ts'
import { Walker } from './walk.ts'

/** What a look at a whole file found. */
export interface CheckReport {
  readonly path: string
  /** Bytes of the file. */
  readonly size: number
  readonly pageSize: number
  /** Both meta pages, page 0 first: what each says, or why it is not valid. */
  readonly metas: readonly MetaState[]
  /** Which meta is the database; undefined when neither is valid. */
  readonly meta: Meta | undefined
  readonly pages: PageCounts
  readonly buckets: number
  /** Pairs that are not buckets. */
  readonly pairs: number
  readonly problems: readonly Problem[]
  /** Problems that were found after these, which are many. */
  readonly moreProblems: number
  /** Whether nothing is damaged. */
  readonly sound: boolean
}

export type MetaState =
  | { readonly valid: true; readonly meta: Meta }
  | { readonly valid: false; readonly why: string }

/** How the pages below the high water mark are used. */
export interface PageCounts {
  readonly total: number
  readonly branch: number
  readonly leaf: number
  /** Pages that continue another one. */
  readonly overflow: number
  readonly freelist: number
  readonly free: number
  /** Neither used nor in the list of free pages. */
  readonly leaked: number
}

export interface CheckOptions {
  readonly signal?: AbortSignal
  /** Called now and then with how many pages of `total` were looked at. */
  readonly onProgress?: (done: number, total: number) => void
}

/** After this many pages others may run. */
const slice = 256

/** More problems than these are only counted. */
const mostProblems = 1000

/**
 * Looks at every page of a file that nobody writes to, whatever is wrong with it.
 *
 * @throws nothing about the file itself: what is wrong is in the report. The signal's reason.
 */
export async function checkFile(file: BoltFile, options: CheckOptions = {}): Promise<CheckReport> {
  return await new Checker(withoutErrors(file)).run(options)
}

class Checker {
  readonly #file: BoltFile
  readonly #size: number
  readonly #problems: Problem[] = []
  #problemCount = 0
  #damaged = false

  constructor(file: BoltFile) {
    this.#file = file
    this.#size = file.size()
  }

  async run(options: CheckOptions): Promise<CheckReport> {
    const pageSize = pageSizeOf(this.#file)
    const metas = this.#metas(pageSize)
    const valid = metas.flatMap((state) => (state.valid ? [state.meta] : []))
    const [meta] = withFollowers(this.#file, valid)
    const tree = meta === undefined ? nothing : await this.#tree(meta, options)
    return {
      path: this.#file.path,
      size: this.#size,
      pageSize,
      metas,
      meta,
      ...tree,
      problems: this.#problems,
      moreProblems: this.#problemCount - this.#problems.length,
      sound: !this.#damaged,
    }
  }

  #report(problem: Problem): void {
    this.#damaged ||= problem.severity === 'damage'
    if (++this.#problemCount <= mostProblems) this.#problems.push(problem)
  }

  #metas(pageSize: number): MetaState[] {
    return [0, 1].map((page) => {
      const buf = Buffer.alloc(metaSize)
      const length = this.#file.read(buf, page * pageSize)
      const state = readMetaPage(buf.subarray(0, length), page)
      if (typeof state !== 'string') return this.#placed(page, state)
      this.#report({ kind: 'meta', severity: 'damage', page, message: state })
      return { valid: false, why: state }
    })
  }

  #placed(page: number, meta: Meta): MetaState {
    if (meta.txid % 2 !== page) {
      const message = `has transaction ${meta.txid}, which belongs into the other meta page`
      this.#report({ kind: 'meta', severity: 'damage', page, message })
    }
    return { valid: true, meta }
  }

  async #tree(meta: Meta, { signal, onProgress }: CheckOptions) {
    const { pageSize, highWater } = meta
    const walker = new Walker({ file: this.#file, pageSize, highWater }, (problem) =>
      this.#report(problem),
    )
    this.#checkLength(meta, walker.pagesInFile)
    const list = this.#freelist(meta)
    const total = highWater - 2 - (list?.free.length ?? 0)
    const counts = { branch: 0, leaf: 0, overflow: 0 }
    let [buckets, pairs, visits] = [0, 0, 0]
    for (const { id, span, items, bucket } of walker.walk(meta.root)) {
      if (id !== 0) {
        counts[items === undefined ? 'branch' : 'leaf']++
        counts.overflow += span - 1
      }
      const inner = items?.filter(({ isBucket }) => isBucket).length ?? 0
      buckets += inner
      pairs += (items?.length ?? 0) - inner
      if (bucket.length === 0) this.#checkRootHolds(id, (items?.length ?? 0) - inner)
      if (++visits % slice > 0) continue
      signal?.throwIfAborted()
      onProgress?.(counts.branch + counts.leaf + counts.overflow, total)
      await new Promise((resolve) => setImmediate(resolve))
    }
    const used = counts.branch + counts.leaf + counts.overflow
    const rest = list === undefined ? highWater - 2 - used : list.free.length
    const leaked = list === undefined ? 0 : this.#checkList(list, walker.seen)
    const pages = { total: highWater, ...counts, freelist: list?.span ?? 0, free: rest, leaked }
    return { pages, buckets, pairs }
  }

  #checkLength({ highWater, pageSize }: Meta, pagesInFile: number): void {
    if (highWater <= pagesInFile) return
    const missing = `${highWater - pagesInFile} of ${highWater} pages of ${pageSize} bytes`
    this.#report({
      kind: 'file',
      severity: 'damage',
      message: `is cut short: ${missing} are missing`,
    })
  }

  #checkRootHolds(page: number, values: number): void {
    if (values === 0) return
    const message = `has ${values} pairs at the root, which holds buckets only`
    this.#report({ kind: 'pair', severity: 'damage', page, message })
  }

  /** The list of free pages; undefined when the file keeps none. */
  #freelist(meta: Meta): FreePages | undefined {
    if (meta.freelist === noFreelist) return undefined
    const found = readFreePages(this.#file, meta)
    if (typeof found !== 'string') return found
    this.#report({ kind: 'freelist', severity: 'damage', page: meta.freelist, message: found })
    return undefined
  }

  /** Compares the list with what is used. How many pages are in neither. */
  #checkList({ page, span, free }: FreePages, seen: Uint8Array): number {
    const listed = new Uint8Array(seen.length)
    const wrong = (message: string) =>
      this.#report({ kind: 'freelist', severity: 'damage', page, message })
    for (let id = page; id < page + span; id++) {
      if (seen[id] !== 0) wrong(`is at page ${id}, which a bucket uses`)
      listed[id] = 1
    }
    for (const id of free) {
      if (seen[id] !== 0) wrong(`says that page ${id} is free, which a bucket uses`)
      if (listed[id] !== 0) wrong(`names page ${id} twice`)
      listed[id] = 1
    }
    let leaked = 0
    for (let id = 2; id < seen.length; id++) if (seen[id] === 0 && listed[id] === 0) leaked++
    if (leaked > 0) {
      const message = `${leaked} pages are neither used nor free: room that is lost`
      this.#report({ kind: 'file', severity: 'warning', message })
    }
    return leaked
  }
}

const nothing = {
  pages: { total: 0, branch: 0, leaf: 0, overflow: 0, freelist: 0, free: 0, leaked: 0 },
  buckets: 0,
  pairs: 0,
}
