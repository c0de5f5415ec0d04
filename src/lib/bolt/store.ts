import { hasCode } from '#lib/errors/errors.ts'

import type { BoltFile } from './file.ts'
import { type Freelist, listPages, loadFreelist } from './freelist.ts'
import { headroomPages, type PageUse, takesRoom } from './headroom.ts'
import { type Meta, noFreelist } from './meta.ts'
import { MetaPages } from './meta-pages.ts'
import type { State } from './metas.ts'
import { pagesIn, type Span } from './outline.ts'
import type { Page } from './page.ts'
import { Pager } from './pager.ts'
import { pieces, Places, type Room } from './places.ts'
import { spill } from './spill.ts'
import { Transaction } from './transaction.ts'

/** How a store treats its file. */
export interface StoreOptions {
  readonly cacheBytes: number
  readonly noSync: boolean
  /** Keep room for deletes on a full disk. */
  readonly keepRoom: boolean
}

/** The search for the free pages of the state that the file was opened in. */
interface Search {
  readonly found: Promise<Freelist>
  /** Whether commits wait for it. */
  readonly atOnce: boolean
  /** Keeps the pages of that state from being used again until then. */
  readonly state: Disposable
}

/** The file grows by doubling from the first of these to the second, then by the second. */
const smallestGrowth = 32 * 1024
const largestGrowth = 16 * 1024 * 1024

/** Up to this many pages the free ones are found before the first commit; it would wait some 50 ms. */
const pagesAtOnce = 4096

/** So many zeros are written at once. */
const fillBytes = 64 * 1024

/** After this many bytes a commit lets others run. */
const writeSlice = 256 * 1024

/**
 * The durable state of a database file, and how it goes from one commit to the next: pages to places that
 * neither meta page refers to, and then what makes them the state (`meta-pages.ts`).
 */
export class Store {
  readonly pager: Pager
  readonly #file: BoltFile
  readonly #keepRoom: boolean
  readonly #metas: MetaPages
  /** The free pages; undefined until they are found. */
  #freelist: Freelist | undefined
  #search: Search | undefined
  readonly #stop = new AbortController()
  #pins = 0
  /** Pages that only pinned states use. */
  readonly #withheld: Span[] = []
  /** Pages that only the state before the last commit uses, as long as the meta of that commit is not on disk. */
  readonly #lastFreed: Span[] = []
  #size: number

  constructor(file: BoltFile, state: State, options: StoreOptions) {
    const { highWater, pageSize } = state.meta
    this.#file = file
    this.#keepRoom = options.keepRoom
    this.#metas = new MetaPages(file, state, options.noSync)
    // What lies beyond the last page that was ever used may be a hole.
    this.#size = options.keepRoom ? highWater * pageSize : file.size()
    this.pager = new Pager(file, pageSize, options.cacheBytes)
  }

  get meta(): Meta {
    return this.#metas.meta
  }

  /** A transaction on the durable state. There is one at a time. */
  begin(): Transaction {
    const tx = new Transaction(this.pager, this.meta)
    const { freelist, pageSize } = this.meta
    if (freelist !== noFreelist) {
      tx.releasePages(freelist, listPages(this.pager, freelist).length / pageSize)
    }
    return tx
  }

  /** Keeps the pages of the durable state from being used again until it is disposed of. */
  pin(): Disposable {
    this.#pins++
    return {
      [Symbol.dispose]: () => {
        if (--this.#pins > 0) return
        this.#free(this.#withheld.splice(0))
      },
    }
  }

  /**
   * Begins to look for the free pages. In a large file that takes seconds, in which commits take new
   * pages at the end of the file; only those of a small one wait.
   *
   * @throws `data_loss` when the file is damaged, also when that was found out since the last call.
   */
  async prepare(): Promise<void> {
    if (this.#freelist !== undefined) return
    this.#search ??= this.#beginSearch()
    const { found, atOnce, state } = this.#search
    const turn = new Promise<undefined>((resolve) => setImmediate(resolve, undefined))
    const freelist = await (atOnce ? found : Promise.race([found, turn]))
    if (freelist === undefined) return
    const conflict = freelist.conflict([...this.#withheld, ...this.#lastFreed])
    if (conflict !== undefined) throw this.pager.damaged(`page ${conflict} is used twice`)
    this.#freelist = freelist
    state[Symbol.dispose]()
  }

  /** Puts on disk what the file is opened with by others, who know nothing of records. */
  async settle(): Promise<void> {
    await this.#metas.settle()
    this.#free(this.#lastFreed.splice(0))
  }

  /** Ends what goes on in the background. Nothing else is called from then on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#search?.found.catch(() => {})
  }

  #beginSearch(): Search {
    const { highWater, freelist } = this.meta
    const state = this.pin()
    const found = loadFreelist(this.pager, this.meta, this.#stop.signal)
    // Whoever commits next is told.
    found.catch(() => {})
    return { found, atOnce: highWater <= pagesAtOnce || freelist !== noFreelist, state }
  }

  /**
   * Makes what `tx` changed durable; `alone` when one caller waits for it and no more. When it
   * throws, the state is what it was before.
   *
   * @throws the system error of the write or sync that failed.
   */
  async commit(tx: Transaction, alone: boolean): Promise<void> {
    await this.#metas.repair(alone)
    if (this.#metas.settled) this.#free(this.#lastFreed.splice(0))
    // On a full disk every page counts.
    else if (this.#keepRoom && this.#unused(this.meta.highWater) < headroomPages)
      await this.settle()
    const freelist = this.#freelist
    const places = new Places(freelist, this.#room, tx.freed.length)
    try {
      const { root, pages } = spill(tx, (span) => places.take(span))
      places.close()
      const { highWater } = places
      const conflict = freelist?.conflict(tx.freed)
      if (conflict !== undefined) throw this.pager.damaged(`page ${conflict} is used twice`)
      const { pageSize, txid } = this.meta
      const { sequence } = tx.root
      const meta = { pageSize, root, sequence, freelist: noFreelist, highWater, txid: txid + 1 }
      await this.#makeRoom(highWater, { written: pages, freed: tx.freed })
      await this.#writePages(pages)
      await this.#metas.commit(meta, pages, alone)
      this.#publish(pages, tx.freed)
    } catch (err) {
      places.undo()
      throw err
    }
  }

  get #room(): Room {
    const { highWater, pageSize } = this.meta
    return { highWater, pages: Math.floor(this.#size / pageSize) }
  }

  /** Makes the file as long as it must be; with room for deletes where that is asked for. */
  async #makeRoom(highWater: number, use: PageUse): Promise<void> {
    const { pageSize } = this.meta
    const needed = highWater * pageSize
    if (!this.#keepRoom) {
      await this.#grow(needed)
      return
    }
    const free = this.#unused(highWater) + pagesIn(this.#lastFreed)
    if (needed <= this.#size && free >= headroomPages) return
    const missing = Math.max(0, headroomPages - free) * pageSize
    try {
      await this.#fill(Math.max(needed, this.#size + missing))
    } catch (err) {
      if (needed > this.#size || takesRoom(use) || !hasCode(err, 'resource_exhausted')) throw err
    }
  }

  /** Pages of the file that can be used at once, when those from `highWater` were never used. */
  #unused(highWater: number): number {
    return (this.#freelist?.count ?? 0) + this.#size / this.meta.pageSize - highWater
  }

  /** Writes zeros up to `end`: what has been written once can be written again. */
  async #fill(end: number): Promise<void> {
    const zeros = Buffer.alloc(Math.min(fillBytes, end - this.#size))
    while (this.#size < end) {
      const piece = zeros.subarray(0, end - this.#size)
      await this.#file.write(piece, this.#size)
      this.#size += piece.length
    }
  }

  async #grow(needed: number): Promise<void> {
    if (needed <= this.#size) return
    let size = Math.max(this.#size, smallestGrowth)
    while (size < needed) size += Math.min(size, largestGrowth)
    await this.#file.truncate(size)
    this.#size = size
  }

  async #writePages(pages: readonly Page[]): Promise<void> {
    let slice = 0
    for (const { start, buf } of pieces(pages, this.meta.pageSize)) {
      await this.#file.write(buf, start)
      slice += buf.length
      if (slice < writeSlice) continue
      slice = 0
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  /** The sync of this commit has put the meta of the one before on disk. */
  #publish(pages: readonly Page[], freed: readonly Span[]): void {
    this.#free(this.#lastFreed.splice(0))
    if (this.#metas.settled) this.#free(freed)
    else this.#lastFreed.push(...freed)
    for (const page of pages) this.pager.keep(page)
  }

  #free(spans: readonly Span[]): void {
    if (this.#pins > 0) {
      this.#withheld.push(...spans)
      return
    }
    for (const { start, span } of spans) {
      this.pager.forget(start)
      this.#freelist?.give(start, span)
    }
  }
}
