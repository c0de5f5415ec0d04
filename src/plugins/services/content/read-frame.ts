/*
 * `ReadContentResponse` as it goes over the wire, with room for the bytes of a blob:
 *
 *     08 <varint offset>      int64 offset = 1, unless it is 0
 *     12 <varint length>      bytes data = 2
 *     <length bytes>
 */

/** A message whose bytes are still to come. */
export interface ReadFrame {
  readonly bytes: Uint8Array
  /** The part of it that is for them. */
  readonly data: Uint8Array
}

const longestHeader = 2 + 2 * 10

/** The message for `length` bytes, more than none, at `offset`. */
export function frameFor(offset: number, length: number): ReadFrame {
  const buffer = take(longestHeader + length)
  let at = 0
  if (offset > 0) {
    buffer[at++] = 0x08
    at = putVarint(buffer, at, offset)
  }
  buffer[at++] = 0x12
  at = putVarint(buffer, at, length)
  return { bytes: buffer.subarray(0, at + length), data: buffer.subarray(at, at + length) }
}

/** Small messages share their memory: each allocation of its own is work for the collector. */
let slab = Buffer.alloc(0)
const slabBytes = 1 << 20

function take(bytes: number): Buffer {
  if (bytes > slabBytes / 8) return Buffer.allocUnsafeSlow(bytes)
  if (bytes > slab.length) slab = Buffer.allocUnsafeSlow(slabBytes)
  const taken = slab.subarray(0, bytes)
  slab = slab.subarray(bytes)
  return taken
}

/** Offsets of files may be larger than what fits into 32 bits, so that no bits are shifted here. */
function putVarint(buffer: Buffer, start: number, value: number): number {
  let at = start
  let rest = value
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) buffer[at++] = (rest % 0x80) + 0x80
  buffer[at++] = rest
  return at
}
