import type { Freelist } from './freelist.ts'
import type { Span } from './outline.ts'
import type { Page } from './page.ts'

/*
 * A commit writes the pages from each leaf that it changed to the root: eight, for a small one. Where they
 * lie in a row the disk is asked for one write, and its flush takes a quarter less time. What one commit has
 * written in a row, the next gives back in a row.
 */

/** In rows of more pages than this, one more makes no difference. */
const mostInRow = 256
/** So many bytes are copied together, at most, to be written at once. */
const mostTogether = 64 * 1024

/** With more free pages than this a row is not begun at the end of the file: there will be one among them. */
const fewFree = 64
/** A file more of which is free, here and there, has these places filled one by one. */
const mostFree = 1 / 8

/** What a file has room for. */
export interface Room {
  /** The page after the last one that is in use. */
  readonly highWater: number
  /** How many pages the file has, in use or not. */
  readonly pages: number
}

/** Where one commit puts its pages. */
export class Places {
  readonly #freelist: Freelist | undefined
  readonly #taken: Span[] = []
  #row: { next: number; readonly end: number } | undefined
  #highWater: number
  #atEnd = false

  /** @param likely - About how many pages there will be: room for as many in a row is looked for. */
  constructor(freelist: Freelist | undefined, { highWater, pages }: Room, likely: number) {
    this.#freelist = freelist
    this.#highWater = highWater
    const free = freelist?.count ?? 0
    if (free > Math.max(fewFree, highWater * mostFree)) return
    // Few lengths: the list remembers where each is found.
    const whole = 2 ** Math.ceil(Math.log2(Math.min(likely, mostInRow)))
    this.#lookFor(whole)
    this.#atEnd = !this.#row && free < fewFree && highWater + whole <= pages
    if (this.#atEnd) return
    for (let span = whole / 2; span > 1 && !this.#row; span /= 2) this.#lookFor(span)
  }

  #lookFor(span: number): void {
    const next = span > 1 ? this.#freelist?.take(span) : undefined
    if (next !== undefined) this.#row = { next, end: next + span }
  }

  /** The page after the last one that is in use. */
  get highWater(): number {
    return this.#highWater
  }

  /** `span` pages in a row: free ones, or new ones at the end of the file. */
  take(span: number): number {
    const start = this.#fromRow(span) ?? (this.#atEnd ? undefined : this.#fromList(span))
    if (start !== undefined) {
      this.#taken.push({ start, span })
      return start
    }
    this.#highWater += span
    return this.#highWater - span
  }

  #fromRow(span: number): number | undefined {
    const row = this.#row
    if (row === undefined || row.end - row.next < span) return undefined
    row.next += span
    return row.next - span
  }

  /** A large value may fit nowhere but where the row was begun. */
  #fromList(span: number): number | undefined {
    const start = this.#freelist?.take(span)
    if (start !== undefined || !this.#row) return start
    this.close()
    return this.#freelist?.take(span)
  }

  /** Gives the rest of the row back: nothing more is taken. */
  close(): void {
    const { next, end } = this.#row ?? { next: 0, end: 0 }
    if (end > next) this.#freelist?.give(next, end - next)
    this.#row = undefined
  }

  /** Gives everything back: nothing was written that counts. */
  undo(): void {
    this.close()
    for (const { start, span } of this.#taken.splice(0)) this.#freelist?.give(start, span)
  }
}

/** Bytes for a place in a file. */
interface Piece {
  readonly start: number
  readonly buf: Buffer
}

/** What is to be written for `pages`: those that follow one another together. */
export function* pieces(pages: readonly Page[], pageSize: number): Generator<Piece> {
  let group: Page[] = []
  let [end, bytes] = [0, 0]
  for (const page of pages) {
    if (page.id !== end || bytes + page.buf.length > mostTogether) {
      yield* joined(group, pageSize)
      group = []
      bytes = 0
    }
    group.push(page)
    bytes += page.buf.length
    end = page.id + page.buf.length / pageSize
  }
  yield* joined(group, pageSize)
}

function* joined(group: readonly Page[], pageSize: number): Generator<Piece> {
  const [first, ...more] = group
  if (first === undefined) return
  const buf = more.length > 0 ? Buffer.concat(group.map((page) => page.buf)) : first.buf
  yield { start: first.id * pageSize, buf }
}
