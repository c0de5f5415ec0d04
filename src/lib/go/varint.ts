/*
 * Go's `encoding/binary` varints: seven bits to a byte, lowest first, the top bit set on all but
 * the last. Signed numbers are zig-zag coded first: 0, -1, 1, -2 become 0, 1, 2, 3.
 */

const maxBytes = 10
const more = 0x80n
const mask = 0x7fn

/** `value` as Go's `binary.PutUvarint` writes it. @throws RangeError outside 0…2^64-1. */
export function encodeUvarint(value: number | bigint): Uint8Array<ArrayBuffer> {
  let rest = BigInt(value)
  if (rest !== BigInt.asUintN(64, rest)) throw new RangeError(`uvarint out of range: ${value}`)
  const bytes: number[] = []
  while (rest >= more) {
    bytes.push(Number((rest & mask) | more))
    rest >>= 7n
  }
  bytes.push(Number(rest))
  return Uint8Array.from(bytes)
}

/** The number at the start of `bytes`. @throws RangeError when it is cut off or over 64 bits. */
export function decodeUvarint(bytes: Uint8Array): bigint {
  // Most are short.
  const [first = 0, second = 0x80] = bytes
  if (bytes.length > 0 && first < 0x80) return BigInt(first)
  if (second < 0x80) return BigInt((first & 0x7f) | (second << 7))
  let value = 0n
  for (let at = 0; at < maxBytes; at++) {
    const byte = bytes[at]
    if (byte === undefined) throw new RangeError('varint is cut off')
    value |= (BigInt(byte) & mask) << BigInt(7 * at)
    if (byte >= more) continue
    if (value !== BigInt.asUintN(64, value)) break
    return value
  }
  throw new RangeError('varint overflows 64 bits')
}

/** `value` as Go's `binary.PutVarint` writes it. @throws RangeError outside 64 bits. */
export function encodeVarint(value: number | bigint): Uint8Array<ArrayBuffer> {
  const signed = BigInt(value)
  if (signed !== BigInt.asIntN(64, signed)) throw new RangeError(`varint out of range: ${value}`)
  return encodeUvarint(signed < 0n ? -2n * signed - 1n : 2n * signed)
}

/** The signed number at the start of `bytes`. @throws RangeError when it is cut off or too big. */
export function decodeVarint(bytes: Uint8Array): bigint {
  const raw = decodeUvarint(bytes)
  return (raw & 1n) === 1n ? -(raw >> 1n) - 1n : raw >> 1n
}
