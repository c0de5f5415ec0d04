import { readUint64 } from './bytes.ts'
import { followers } from './commit-record.ts'
import type { BoltFile } from './file.ts'
import { decodeMeta, type Meta, metaSize } from './meta.ts'

/** Page sizes that files are made with, those of the memory of some machine: the usual one first. */
const pageSizes = [4096, 1024, 2048, 8192, 16384, 32768, 65536]
const largestPageSize = 16 * 1024 * 1024

/** The state that a file is in. */
export interface State {
  readonly meta: Meta
  /** The state before, if the file has it. */
  readonly before: Meta | undefined
  /** Whether a record says so, and no meta page. */
  readonly recorded: boolean
}

/** The state of `file`; undefined when it has no valid meta. */
export function readState(file: BoltFile): State | undefined {
  const pages = pagesOf(file)
  const [meta, ...others] = withFollowers(file, pages)
  if (meta === undefined) return undefined
  const before = others.find(({ txid }) => txid === meta.txid - 1)
  return { meta, before, recorded: !pages.includes(meta) }
}

/** The newest state of `file`; undefined when it has no valid meta. */
export const readMeta = (file: BoltFile): Meta | undefined => readMetas(file)[0]

/** The states that `file` has in its meta pages, and by its records after those: newest first. */
export const readMetas = (file: BoltFile): Meta[] => withFollowers(file, pagesOf(file))

/** The states of `file`, newest first, if `pages` are what those of its meta pages say that count. */
export function withFollowers(file: BoltFile, pages: readonly Meta[]): Meta[] {
  const metas = pages.toSorted((a, b) => b.txid - a.txid)
  const [newest] = metas
  return newest === undefined ? [] : [...followers(file, newest), ...metas]
}

/**
 * What the valid meta pages of `file` say.
 *
 * When page 0 is not valid the page size is unknown, and page 1 is searched where it would be.
 */
function pagesOf(file: BoltFile): Meta[] {
  const first = metaAt(file, 0)
  const second = first === undefined ? secondMeta(file) : metaAt(file, first.pageSize)
  return [first, second].filter((meta) => meta !== undefined)
}

/** The page size of `file`: as a meta says, else that by which most pages are where their ids say. */
export function pageSizeOf(file: BoltFile): number {
  return readMeta(file)?.pageSize ?? guessPageSize(file)
}

function metaAt(file: BoltFile, position: number): Meta | undefined {
  const buf = Buffer.alloc(metaSize)
  return decodeMeta(buf.subarray(0, file.read(buf, position)))
}

function secondMeta(file: BoltFile): Meta | undefined {
  for (let pageSize = 1024; pageSize <= largestPageSize; pageSize *= 2) {
    const second = metaAt(file, pageSize)
    if (second?.pageSize === pageSize) return second
  }
  return undefined
}

/** How many pages are looked at to find out how large they are. */
const sample = 1024

function guessPageSize(file: BoltFile): number {
  const fitting = pageSizes.map((pageSize) => ({ pageSize, fit: idsThatFit(file, pageSize) }))
  return fitting.toSorted((a, b) => b.fit - a.fit)[0]?.pageSize ?? 4096
}

function idsThatFit(file: BoltFile, pageSize: number): number {
  const id = Buffer.alloc(8)
  let fit = 0
  for (let page = 2; page < sample; page++) {
    if (file.read(id, page * pageSize) < id.length) break
    if (readUint64(id, 0) === page) fit++
  }
  return fit
}
