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
 * The first index of 0…count whose key is not below `key`, by binary search; `count` when all are.
 */
export function lowerBound(
  count: number,
  keyAt: (i: number) => Uint8Array,
  key: Uint8Array,
): number {
  let low = 0
  let high = count
  while (low < high) {
    const middle = (low + high) >>> 1
    if (compareBytes(keyAt(middle), key) < 0) low = middle + 1
    else high = middle
  }
  return low
}
