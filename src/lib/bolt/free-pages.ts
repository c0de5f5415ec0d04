import { readUint64 } from './bytes.ts'
import type { BoltFile } from './file.ts'
import type { Meta } from './meta.ts'
import { freelistFlag, pageHeaderSize } from './page.ts'

/** A list of free pages in the file, and where it is. */
export interface FreePages {
  readonly page: number
  readonly span: number
  readonly free: readonly number[]
}

/** The list of free pages of `meta`, or what is wrong with it. See `readList` for its layout. */
export function readFreePages(
  file: BoltFile,
  { freelist, pageSize, highWater }: Meta,
): FreePages | string {
  if (!(freelist > 1 && freelist < highWater)) return 'the list of free pages is at no page'
  const first = Buffer.alloc(pageSize)
  if (file.read(first, freelist * pageSize) < pageSize) return 'the list of free pages is cut short'
  if (readUint64(first, 0) !== freelist) return 'the list of free pages has another id'
  if (first.readUInt16LE(8) !== freelistFlag) return 'is no list of free pages'
  const span = 1 + first.readUInt32LE(12)
  if (freelist + span > highWater) return `says that ${span} pages belong to it`
  const buf = Buffer.alloc(span * pageSize)
  if (file.read(buf, freelist * pageSize) < buf.length) return 'the list of free pages is cut short'
  const short = buf.readUInt16LE(10)
  const start = pageHeaderSize + (short === 0xffff ? 8 : 0)
  const count = short === 0xffff ? readUint64(buf, pageHeaderSize) : short
  if (!(start + count * 8 <= buf.length)) return `says that it has ${count} entries: more than fit`
  const free = Array.from({ length: count }, (_, i) => readUint64(buf, start + i * 8))
  const outside = free.find((id) => !(id > 1 && id < highWater))
  return outside === undefined ? { page: freelist, span, free } : `names page ${outside}`
}
