import { dataLoss } from '#lib/errors/errors.ts'

import { compareAt, readUint64, writeUint64 } from './bytes.ts'

/**
 * Pages, little-endian, as bbolt lays them out (upstream: `internal/common/page.go`). A page that
 * needs more room than one runs on into the `overflow` pages that follow it.
 *
 *     0        8       10      12        16
 *     ├─ id ───┼ flags ┼ count ┼ overflow ┤ elements … │ data …
 *
 *     branch element, 16 bytes, sorted by key:   pos u32, ksize u32, child page id u64
 *     leaf element, 16 bytes, sorted by key:     flags u32, pos u32, ksize u32, vsize u32
 *
 * `pos` counts from the start of its element; the value follows the key. Leaf flag 1 says that the
 * value is a nested bucket:
 *
 *     ├ root page id u64 ┼ sequence u64 ┤ and, when root is 0, a whole leaf page (inline bucket)
 */
export const pageHeaderSize = 16
export const elementSize = 16
export const bucketHeaderSize = 16

/** bbolt's limit, in bytes. */
export const maxKeySize = 32768

export const branchFlag = 0x01
export const leafFlag = 0x02
export const metaFlag = 0x04
export const freelistFlag = 0x10

const bucketFlag = 1

/** What is in one leaf element. */
export interface LeafElement {
  readonly key: Buffer
  readonly value: Buffer
  readonly isBucket: boolean
}

/** A page of the trees as it is on disk. Never changed once it is made. */
export type Page = LeafPage | BranchPage

abstract class TreePage {
  /** 0 for the page of an inline bucket. */
  readonly id: number
  readonly buf: Buffer
  readonly count: number
  /** Set by each look-up, cleared by the cache as it searches for pages to forget. */
  used = true

  constructor(id: number, buf: Buffer) {
    this.id = id
    this.buf = buf
    this.count = buf.readUInt16LE(10)
  }

  /** Where in an element its `pos` is, which `ksize` follows. */
  protected abstract readonly positionField: number

  /** The index of `key`, or `~i` when it would be inserted at `i`. Copies nothing. */
  search(key: Uint8Array): number {
    const { buf } = this
    const field = this.positionField
    let low = 0
    let high = this.count
    while (low < high) {
      const middle = (low + high) >>> 1
      const at = pageHeaderSize + middle * elementSize
      const start = at + buf.readUInt32LE(at + field)
      const order = compareAt(buf, start, buf.readUInt32LE(at + field + 4), key)
      if (order === 0) return middle
      if (order < 0) low = middle + 1
      else high = middle
    }
    return ~low
  }

  /** How many pages it takes. */
  get span(): number {
    return 1 + this.buf.readUInt32LE(12)
  }
}

export class LeafPage extends TreePage {
  readonly leaf = true
  protected readonly positionField = 4

  keyAt(index: number): Buffer {
    const at = pageHeaderSize + index * elementSize
    const start = at + this.buf.readUInt32LE(at + 4)
    return this.buf.subarray(start, start + this.buf.readUInt32LE(at + 8))
  }

  itemAt(index: number): LeafElement {
    const at = pageHeaderSize + index * elementSize
    const start = at + this.buf.readUInt32LE(at + 4)
    const middle = start + this.buf.readUInt32LE(at + 8)
    return {
      key: this.buf.subarray(start, middle),
      value: this.buf.subarray(middle, middle + this.buf.readUInt32LE(at + 12)),
      isBucket: this.isBucketAt(index),
    }
  }

  valueAt(index: number): Buffer {
    const at = pageHeaderSize + index * elementSize
    const start = at + this.buf.readUInt32LE(at + 4) + this.buf.readUInt32LE(at + 8)
    return this.buf.subarray(start, start + this.buf.readUInt32LE(at + 12))
  }

  isBucketAt(index: number): boolean {
    return (this.buf.readUInt32LE(pageHeaderSize + index * elementSize) & bucketFlag) !== 0
  }
}

export class BranchPage extends TreePage {
  readonly leaf = false
  protected readonly positionField = 0

  keyAt(index: number): Buffer {
    const at = pageHeaderSize + index * elementSize
    const start = at + this.buf.readUInt32LE(at)
    return this.buf.subarray(start, start + this.buf.readUInt32LE(at + 4))
  }

  childAt(index: number): number {
    return readUint64(this.buf, pageHeaderSize + index * elementSize + 8)
  }
}

/**
 * Reads a page whose bytes are `buf`.
 *
 * @throws `data_loss` when it is no branch or leaf, or points outside itself.
 */
export function parsePage(id: number, buf: Buffer): Page {
  const flags = buf.length < pageHeaderSize ? 0 : buf.readUInt16LE(8)
  if (flags !== branchFlag && flags !== leafFlag) {
    throw dataLoss(`page ${id} is neither branch nor leaf`)
  }
  const leaf = flags === leafFlag
  if (!isSound(buf, leaf)) throw dataLoss(`page ${id} points outside itself`)
  return leaf ? new LeafPage(id, buf) : new BranchPage(id, buf)
}

function isSound(buf: Buffer, leaf: boolean): boolean {
  const end = buf.length
  const count = buf.readUInt16LE(10)
  const elementsEnd = pageHeaderSize + count * elementSize
  if (elementsEnd > end || (count === 0 && !leaf)) return false
  for (let at = pageHeaderSize; at < elementsEnd; at += elementSize) {
    const second = buf.readUInt32LE(at + 4)
    const size = leaf
      ? second + buf.readUInt32LE(at + 8) + buf.readUInt32LE(at + 12)
      : second + buf.readUInt32LE(at)
    if (at + size > end) return false
  }
  return true
}

/** Writes a leaf page into `buf`, which is as long as it needs. */
export function encodeLeaf(
  buf: Buffer,
  id: number,
  span: number,
  items: readonly LeafElement[],
): void {
  writeHeader(buf, id, leafFlag, items.length, span)
  let at = pageHeaderSize
  let data = at + items.length * elementSize
  for (const { key, value, isBucket } of items) {
    buf.writeUInt32LE(isBucket ? bucketFlag : 0, at)
    buf.writeUInt32LE(data - at, at + 4)
    buf.writeUInt32LE(key.length, at + 8)
    buf.writeUInt32LE(value.length, at + 12)
    buf.set(key, data)
    buf.set(value, data + key.length)
    data += key.length + value.length
    at += elementSize
  }
  buf.fill(0, data)
}

/** Writes a branch page into `buf`, which is as long as it needs. */
export function encodeBranch(
  buf: Buffer,
  id: number,
  span: number,
  keys: readonly Buffer[],
  children: readonly number[],
): void {
  writeHeader(buf, id, branchFlag, keys.length, span)
  let at = pageHeaderSize
  let data = at + keys.length * elementSize
  for (const [i, key] of keys.entries()) {
    buf.writeUInt32LE(data - at, at)
    buf.writeUInt32LE(key.length, at + 4)
    writeUint64(buf, children[i] ?? 0, at + 8)
    buf.set(key, data)
    data += key.length
    at += elementSize
  }
  buf.fill(0, data)
}

function writeHeader(buf: Buffer, id: number, flags: number, count: number, span: number): void {
  writeUint64(buf, id, 0)
  buf.writeUInt16LE(flags, 8)
  buf.writeUInt16LE(count, 10)
  buf.writeUInt32LE(span - 1, 12)
}
