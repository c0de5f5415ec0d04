import { readUint64 } from './bytes.ts'
import type { BoltFile } from './file.ts'
import { decodeMeta, type Meta, metaSize } from './meta.ts'

/** Page sizes that files are made with, those of the memory of some machine: the usual one first. */
const pageSizes = [4096, 1024, 2048, 8192, 16384, 32768, 65536]
const largestPageSize = 16 * 1024 * 1024

/**
 * The newest valid meta of `file`; undefined when there is none.
 *
 * When page 0 is not valid the page size is unknown, and page 1 is searched where it would be.
 */
export function readMeta(file: BoltFile): Meta | undefined {
  return newestMeta(readMetas(file))
}

/** The valid metas of `file`, newest first. */
export function readMetas(file: BoltFile): Meta[] {
  const first = metaAt(file, 0)
  const second = first === undefined ? secondMeta(file) : metaAt(file, first.pageSize)
  return [first, second].filter((meta) => meta !== undefined).toSorted((a, b) => b.txid - a.txid)
}

/** The one of `metas` that is the database. */
export const newestMeta = (metas: readonly Meta[]): Meta | undefined =>
  metas.toSorted((a, b) => b.txid - a.txid)[0]

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
