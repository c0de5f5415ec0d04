import { readUint64, writeUint64 } from './bytes.ts'
import { metaFlag, pageHeaderSize } from './page.ts'

/**
 * The meta page, written to page 0 and page 1 in turn (upstream: `internal/common/meta.go`). After
 * the page header:
 *
 *     0       4         8           12      16         24         32         40           48     56
 *     ├ magic ┼ version ┼ page size ┼ flags ┼ root id  ┼ sequence ┼ freelist ┼ high water ┼ txid ┼ FNV-1a-64
 *
 * The checksum is of the 56 bytes before it. The valid one with the higher txid is the database.
 */
export interface Meta {
  readonly pageSize: number
  /** The page of the root bucket. */
  readonly root: number
  readonly sequence: bigint
  /** The page of the list of free pages; `noFreelist` when it has to be found by scanning. */
  readonly freelist: number
  /** The first page that was never used. */
  readonly highWater: number
  readonly txid: number
}

const magic = 0xed0cdaed
const version = 2
const size = 64
const checksumAt = 56
const noFreelistId = 0xffffffffffffffffn

/** Stands for "no list of free pages in the file". */
export const noFreelist = -1

/** How much of a page is needed to read its meta. */
export const metaSize: number = pageHeaderSize + size

/** The meta of the page in `page`; undefined when it is not valid. */
export function decodeMeta(page: Buffer): Meta | undefined {
  const meta = readMetaPage(page)
  return typeof meta === 'string' ? undefined : meta
}

/**
 * The meta of the page in `page`, or why it is not valid. `expectedId`, when given, is the id that
 * its page has, which readers do not look at.
 */
export function readMetaPage(page: Buffer, expectedId?: number): Meta | string {
  if (page.length < metaSize) return 'is cut short'
  const buf = page.subarray(pageHeaderSize, metaSize)
  if (buf.readUInt32LE(0) !== magic) {
    return page.every((byte) => byte === 0) ? 'is all zero' : 'is no meta page'
  }
  if (buf.readUInt32LE(4) !== version) return `is of version ${buf.readUInt32LE(4)}, not ${version}`
  if (checksumIn(page) !== fnv1a(buf.subarray(0, checksumAt))) return 'does not match its checksum'
  const meta = metaFields(buf)
  if (Number.isNaN(meta.root + meta.freelist + meta.highWater + meta.txid)) {
    return 'has numbers that are too large'
  }
  if (expectedId === undefined) return meta
  if (readUint64(page, 0) !== expectedId) return `has the id ${readUint64(page, 0)} in it`
  return page.readUInt16LE(8) === metaFlag ? meta : 'is not marked as a meta page'
}

/** The checksum that a meta page, or its head, has in it. */
export const checksumIn = (page: Buffer): bigint =>
  page.readBigUInt64LE(pageHeaderSize + checksumAt)

/** What the bytes of a meta say, whether they are valid or not. */
export function metaFields(buf: Buffer): Meta {
  const none = buf.readBigUInt64LE(32) === noFreelistId
  return {
    pageSize: buf.readUInt32LE(8),
    root: readUint64(buf, 16),
    sequence: buf.readBigUInt64LE(24),
    freelist: none ? noFreelist : readUint64(buf, 32),
    highWater: readUint64(buf, 40),
    txid: readUint64(buf, 48),
  }
}

/** The whole page for `meta`; it belongs at page `meta.txid % 2`. */
export function encodeMeta(meta: Meta): Buffer {
  const page = Buffer.alloc(meta.pageSize)
  page.set(encodeHead(meta))
  return page
}

/** What the page for `meta` begins with; all the rest of it are zeros. */
export function encodeHead(meta: Meta): Buffer {
  const head = Buffer.alloc(metaSize)
  writeUint64(head, meta.txid % 2, 0)
  head.writeUInt16LE(metaFlag, 8)

  const buf = head.subarray(pageHeaderSize)
  buf.writeUInt32LE(magic, 0)
  buf.writeUInt32LE(version, 4)
  buf.writeUInt32LE(meta.pageSize, 8)
  writeUint64(buf, meta.root, 16)
  buf.writeBigUInt64LE(meta.sequence, 24)
  if (meta.freelist === noFreelist) buf.writeBigUInt64LE(noFreelistId, 32)
  else writeUint64(buf, meta.freelist, 32)
  writeUint64(buf, meta.highWater, 40)
  writeUint64(buf, meta.txid, 48)
  buf.writeBigUInt64LE(fnv1a(buf.subarray(0, checksumAt)), checksumAt)
  return head
}

/**
 * FNV-1a of 64 bits. The prime is 2^40 + 0x1b3, and the halves of the hash are numbers: every commit
 * has a checksum, which as a bigint takes longer than writing its pages.
 */
function fnv1a(bytes: Uint8Array): bigint {
  let [high, low] = [0xcbf29ce4, 0x84222325]
  for (const byte of bytes) {
    const mixed = (low ^ byte) >>> 0
    const product = mixed * 0x1b3
    high = (high * 0x1b3 + Math.floor(product / 2 ** 32) + ((mixed << 8) >>> 0)) >>> 0
    low = product >>> 0
  }
  return (BigInt(high) << 32n) | BigInt(low)
}
