import { readUint64 } from './bytes.ts'
import { type Meta, noFreelist } from './meta.ts'
import { freelistFlag, pageHeaderSize } from './page.ts'
import { type Span, spansOf } from './outline.ts'
import type { Pager } from './pager.ts'

/** Free pages in a row. */
interface Run {
  start: number
  length: number
}

/** For so many lengths it is remembered where the search for a run begins. */
const mostFloors = 64

/** The free pages of a file, as runs in order, none touching the next. */
export class Freelist {
  readonly #runs: Run[] = []
  /** By length: no run that starts below this page is that long. */
  readonly #floors = new Map<number, number>()

  #count = 0

  /** How many pages are free. */
  get count(): number {
    return this.#count
  }

  /** Takes `span` pages in a row from the first place they fit; undefined when nowhere. */
  take(span: number): number | undefined {
    const index = this.#firstOf(span)
    const run = this.#runs[index]
    if (this.#floors.size >= mostFloors) this.#floors.clear()
    this.#floors.set(span, run?.start ?? Infinity)
    if (run === undefined) return undefined
    const { start } = run
    this.#count -= span
    if (run.length === span) this.#runs.splice(index, 1)
    else {
      run.start += span
      run.length -= span
    }
    return start
  }

  /** Adds `span` pages from `start`, none of which is free. */
  give(start: number, span: number): void {
    this.#count += span
    const index = this.#after(start)
    const before = this.#runs[index - 1]
    const after = this.#runs[index]
    const joinsBefore = before !== undefined && before.start + before.length === start
    const joinsAfter = after !== undefined && after.start === start + span
    const run = {
      start: joinsBefore ? before.start : start,
      length: (joinsBefore ? before.length : 0) + span + (joinsAfter ? after.length : 0),
    }
    const first = joinsBefore ? index - 1 : index
    const joined = Number(joinsBefore) + Number(joinsAfter)
    if (joined === 1) this.#runs[first] = run
    else this.#runs.splice(first, joined, run)
    for (const [length, floor] of this.#floors) {
      if (length <= run.length && run.start < floor) this.#floors.set(length, run.start)
    }
  }

  /** The index of the first run that is `span` long, or that of the end. */
  #firstOf(span: number): number {
    let index = this.#after((this.#floors.get(span) ?? 0) - 1)
    while (index < this.#runs.length && (this.#runs[index]?.length ?? 0) < span) index++
    return index
  }

  /** The first of `freed` that is free already or is there twice: the file was damaged before. */
  conflict(freed: readonly Span[]): number | undefined {
    let last = 0
    for (const { start, span } of freed.toSorted((a, b) => a.start - b.start)) {
      const index = this.#after(start)
      const before = this.#runs[index - 1]
      const overlaps =
        start < last ||
        (before !== undefined && before.start + before.length > start) ||
        (this.#runs[index]?.start ?? Infinity) < start + span
      if (overlaps) return start
      last = start + span
    }
    return undefined
  }

  /** The index of the first run that starts after `page`. */
  #after(page: number): number {
    let low = 0
    let high = this.#runs.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#runs[middle]?.start ?? 0) <= page) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** For how long a scan goes on before it lets others run, in ms. */
const scanSlice = 1

/** After this many pages a scan looks at the clock. */
const clockEvery = 32

/**
 * Finds the free pages of a state whose pages stay as they are meanwhile: from its list when it has
 * one, else by looking at every page in use, letting others run in between.
 *
 * @throws `data_loss` when the trees are not sound; the signal's reason.
 */
export async function loadFreelist(
  pager: Pager,
  meta: Meta,
  signal: AbortSignal,
): Promise<Freelist> {
  return meta.freelist === noFreelist ? await scan(pager, meta, signal) : readList(pager, meta)
}

async function scan(pager: Pager, meta: Meta, signal: AbortSignal): Promise<Freelist> {
  const inUse = new Uint8Array(meta.highWater)
  const root = { epoch: 0, root: meta.root, sequence: meta.sequence }
  let [seen, end] = [0, performance.now() + scanSlice]
  for (const { start, span } of spansOf(pager, root, meta.highWater)) {
    for (let id = start; id < start + span; id++) {
      if (id >= meta.highWater) throw pager.damaged(`page ${id} is beyond the last one`)
      if (inUse[id] === 1) throw pager.damaged(`page ${id} is used twice`)
      inUse[id] = 1
    }
    if (++seen % clockEvery > 0 || performance.now() < end) continue
    await new Promise((resolve) => setImmediate(resolve))
    signal.throwIfAborted()
    end = performance.now() + scanSlice
  }
  return unusedIn(inUse)
}

function unusedIn(inUse: Uint8Array): Freelist {
  const list = new Freelist()
  for (let id = 2; id < inUse.length; id++) {
    if (inUse[id] === 1) continue
    const start = id
    while (id < inUse.length && inUse[id] === 0) id++
    list.give(start, id - start)
  }
  return list
}

/**
 * The list in the file: a page header with flag 0x10, then page ids in order, u64 each. A count of
 * 0xffff means that the first u64 is the count.
 */
function readList(pager: Pager, meta: Meta): Freelist {
  const buf = listPages(pager, meta.freelist)
  const unsound = pager.damaged(`the list of free pages at page ${meta.freelist} is not sound`)
  if (buf.readUInt16LE(8) !== freelistFlag) throw unsound
  let count = buf.readUInt16LE(10)
  let at = pageHeaderSize
  if (count === 0xffff) {
    count = readUint64(buf, at)
    at += 8
  }
  if (!(at + count * 8 <= buf.length)) throw unsound
  const list = new Freelist()
  for (const end = at + count * 8; at < end; at += 8) {
    const id = readUint64(buf, at)
    const valid = id > 1 && id < meta.highWater
    if (!valid || list.conflict([{ start: id, span: 1 }]) !== undefined) throw unsound
    list.give(id, 1)
  }
  return list
}

/** The bytes of the list at `id`, with what it overflows into. */
export function listPages(pager: Pager, id: number): Buffer {
  const first = pager.raw(id, 1)
  const overflow = first.readUInt32LE(12)
  return overflow === 0 ? first : pager.raw(id, 1 + overflow)
}
