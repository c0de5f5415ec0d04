import { crc32 } from 'node:zlib'

import { readUint64, writeUint64 } from './bytes.ts'
import type { BoltFile } from './file.ts'
import { checksumIn, decodeMeta, encodeHead, type Meta, metaSize } from './meta.ts'
import { pagesIn, type Span } from './outline.ts'
import type { Page } from './page.ts'

/*
 * bbolt makes a commit durable with two syncs: of its pages, and then of the meta page that refers to them.
 * A record makes one enough. It goes to disk together with the pages and says what they have to be; the meta
 * follows when they are, and is on disk with the next sync. After a power cut in between, the state is that of
 * the meta before and of the record that follows it, if every page is what the record says.
 *
 * The record of a transaction is in the meta page that its meta will go to, at byte 512. bbolt never
 * looks there, and puts zeros there with each meta of its own. Little-endian:
 *
 *     0       4        8       16            96                     100    104
 *     ├ magic ┼ CRC-32 ┼ base ─┼ head of its ┼ CRC-32 of all its  ──┼ runs ┤ for each run of pages
 *     │       │        │       │ meta page   │ pages, in this order │      │ the first u64, how many u32
 *
 * The first CRC-32 is of everything from byte 8. `base` is the checksum of the meta that it follows.
 */
const magic = 0x66726877
const headerSize = 104
const runSize = 12

/** Where in a meta page a record is: a sector of the disk that has nothing of the meta. */
export const recordOffset = 512

/** More than this is synced in two steps, where the event loop has its turn in between. */
const mostBytes = 1 << 20

/** What a record is of. */
export interface Commit {
  /** The head of the meta page that is followed. */
  readonly base: Buffer
  /** The head of the one that follows. */
  readonly head: Buffer
  readonly pages: readonly Page[]
  readonly pageSize: number
}

/** The record of a commit; undefined when it would be too long for its place, or the pages are many. */
export function encodeRecord({ base, head, pages, pageSize }: Commit): Buffer | undefined {
  const runs = runsOf(pages, pageSize)
  const length = headerSize + runs.length * runSize
  const bytes = pagesIn(runs) * pageSize
  if (length > pageSize - recordOffset || bytes > mostBytes) return undefined
  const record = Buffer.alloc(length)
  record.writeUInt32LE(magic, 0)
  record.writeBigUInt64LE(checksumIn(base), 8)
  record.set(head, 16)
  record.writeUInt32LE(
    pages.reduce((sum, { buf }) => crc32(buf, sum), 0),
    96,
  )
  record.writeUInt32LE(runs.length, 100)
  for (const [i, { start, span }] of runs.entries()) {
    writeUint64(record, start, headerSize + i * runSize)
    record.writeUInt32LE(span, headerSize + i * runSize + 8)
  }
  record.writeUInt32LE(crc32(record.subarray(8)), 4)
  return record
}

/**
 * The states that the records in `file` lead to from `meta`, the last one first. There can be two: the
 * meta of the first was not synced when the second was written.
 */
export function followers(file: BoltFile, meta: Meta): Meta[] {
  const next = follower(file, meta)
  return next === undefined ? [] : [...followers(file, next), next]
}

function follower(file: BoltFile, base: Meta): Meta | undefined {
  const { pageSize, txid } = base
  if (pageSize <= recordOffset + headerSize) return undefined
  const area = Buffer.alloc(pageSize - recordOffset)
  const place = ((txid + 1) % 2) * pageSize + recordOffset
  const record = soundRecord(area.subarray(0, file.read(area, place)))
  if (record?.readBigUInt64LE(8) !== checksumIn(encodeHead(base))) return undefined
  const meta = decodeMeta(record.subarray(16, 16 + metaSize))
  if (meta?.txid !== txid + 1 || meta.pageSize !== pageSize) return undefined
  return arePages(file, record, meta) ? meta : undefined
}

/** The record at the start of `area`. */
function soundRecord(area: Buffer): Buffer | undefined {
  if (area.length < headerSize || area.readUInt32LE(0) !== magic) return undefined
  const length = headerSize + area.readUInt32LE(100) * runSize
  if (length > area.length) return undefined
  const record = area.subarray(0, length)
  return record.readUInt32LE(4) === crc32(record.subarray(8)) ? record : undefined
}

/** Whether all pages of the record are in `file`, as they were when it was made. */
function arePages(file: BoltFile, record: Buffer, { pageSize, highWater }: Meta): boolean {
  let sum = 0
  for (let at = headerSize; at < record.length; at += runSize) {
    const [start, span] = [readUint64(record, at), record.readUInt32LE(at + 8)]
    if (!(start + span <= highWater)) return false
    const buf = Buffer.allocUnsafe(span * pageSize)
    if (file.read(buf, start * pageSize) < buf.length) return false
    sum = crc32(buf, sum)
  }
  return sum === record.readUInt32LE(96)
}

/** Pages that follow one another, as one each. */
function runsOf(pages: readonly Page[], pageSize: number): Span[] {
  const runs: { start: number; span: number }[] = []
  for (const { id, buf } of pages) {
    const span = buf.length / pageSize
    const last = runs.at(-1)
    if (last !== undefined && last.start + last.span === id) last.span += span
    else runs.push({ start: id, span })
  }
  return runs
}
