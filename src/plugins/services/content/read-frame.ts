/*
 * `ReadContentResponse` as it goes over the wire, with room for the bytes of a blob:
 *
 *     08 <varint offset>      int64 offset = 1, unless it is 0
 *     12 <varint length>      bytes data = 2
 *     <length bytes>
 */

import { BufferPool } from '#lib/bytes/buffer-pool.ts'
import { lend } from '#lib/rpc/codec.ts'

/** A message whose bytes are still to come. */
export interface ReadFrame {
  readonly bytes: Uint8Array
  /** The part of it that is for them. */
  readonly data: Uint8Array
}

const longestHeader = 2 + 2 * 10

/** The message for `length` bytes, more than none, at `offset`. It may be made anew when it has left. */
export function frameFor(offset: number, length: number): ReadFrame {
  const pool = poolFor(longestHeader + length)
  const buffer = pool.take(longestHeader + length)
  let at = 0
  if (offset > 0) {
    buffer[at++] = 0x08
    at = putVarint(buffer, at, offset)
  }
  buffer[at++] = 0x12
  at = putVarint(buffer, at, length)
  const bytes = buffer.subarray(0, at + length)
  lend(bytes, () => pool.give(buffer))
  return { bytes, data: buffer.subarray(at, at + length) }
}

/** For clients that read 32 KiB at a time, and for those that take whole messages. */
const [small, large] = [new BufferPool(64 << 10, 32), new BufferPool((1 << 20) + 64, 4)] as const

const poolFor = (bytes: number): BufferPool => (bytes <= small.size ? small : large)

/** Offsets of files may be larger than what fits into 32 bits, so that no bits are shifted here. */
function putVarint(buffer: Buffer, start: number, value: number): number {
  let at = start
  let rest = value
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) buffer[at++] = (rest % 0x80) + 0x80
  buffer[at++] = rest
  return at
}
