import type { Key } from './database.ts'

/** Keys are ordered as unsigned bytes, a prefix before what it is a prefix of. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length)
  for (let i = 0; i < shared; i++) {
    const diff = (a[i] ?? 0) - (b[i] ?? 0)
    if (diff !== 0) return diff
  }
  return a.length - b.length
}

/** Like `compareBytes`, with the `length` bytes of `buf` from `start` in place of the first. */
export function compareAt(buf: Buffer, start: number, length: number, b: Uint8Array): number {
  const shared = Math.min(length, b.length)
  for (let i = 0; i < shared; i++) {
    const diff = (buf[start + i] ?? 0) - (b[i] ?? 0)
    if (diff !== 0) return diff
  }
  return length - b.length
}

/** `data` as a Buffer over the same memory; a string becomes its UTF-8 form. */
export function asBuffer(data: Key): Buffer {
  if (typeof data === 'string') return Buffer.from(data, 'utf8')
  if (Buffer.isBuffer(data)) return data
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength)
}

/** `data` in memory nobody else writes to. */
export function ownBytes(data: Key): Buffer {
  return typeof data === 'string' ? Buffer.from(data, 'utf8') : Buffer.from(data)
}

/** A 64-bit number that must be exact as a JavaScript number; NaN when it is not. */
export function readUint64(buf: Buffer, offset: number): number {
  const high = buf.readUInt32LE(offset + 4)
  if (high > 0x1fffff) return Number.NaN
  return high * 0x1_0000_0000 + buf.readUInt32LE(offset)
}

export function writeUint64(buf: Buffer, value: number, offset: number): void {
  buf.writeUInt32LE(value % 0x1_0000_0000, offset)
  buf.writeUInt32LE(Math.floor(value / 0x1_0000_0000), offset + 4)
}

/**
 * Binary search in `count` keys of ascending order; `compare` says how the one at an index stands to
 * the key sought. Gives the index of the key, or `~i` when it would be inserted at `i`.
 */
export function binarySearch(count: number, compare: (index: number) => number): number {
  let low = 0
  let high = count
  while (low < high) {
    const middle = (low + high) >>> 1
    const order = compare(middle)
    if (order === 0) return middle
    if (order < 0) low = middle + 1
    else high = middle
  }
  return ~low
}

/** Where a search gave `found`: the index of the key, or that of the first one above it. */
export const lowerBound = (found: number): number => (found < 0 ? ~found : found)
