/*
 * Go's `time.Time.MarshalBinary`, as bbolt databases keep it. All numbers are big-endian.
 *
 *   byte 0      version: 1, or 2 when the zone has seconds
 *   bytes 1-8   seconds since 1 January of year 1, UTC; signed
 *   bytes 9-12  nanoseconds; signed
 *   bytes 13-14 minutes east of UTC; -1 says UTC itself; signed
 *   byte 15     version 2 only: seconds of the zone; signed
 */

const utc = -1
const version1 = 1
const version2 = 2
const length = 15

/** Seconds from 1 January of year 1 to 1 January 1970. */
const unixToYear1 = 62_135_596_800n

/** Go's zero time: 1 January of year 1, what a record without a time has. */
export const zeroTime: Date = new Date(Number(-unixToYear1) * 1000)

/** `date` in Go's 15 bytes, in UTC. */
export function encodeTime(date: Date): Uint8Array<ArrayBuffer> {
  const ms = date.getTime()
  const seconds = Math.floor(ms / 1000)
  const bytes = new Uint8Array(length)
  const view = new DataView(bytes.buffer)
  view.setUint8(0, version1)
  view.setBigInt64(1, BigInt(seconds) + unixToYear1)
  view.setInt32(9, (ms - seconds * 1000) * 1_000_000)
  view.setInt16(13, utc)
  return bytes
}

/**
 * The time in `bytes`, of any zone, to the millisecond.
 *
 * @throws RangeError when it is not Go's format.
 */
export function decodeTime(bytes: Uint8Array): Date {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const version = bytes[0]
  if (version !== version1 && version !== version2) {
    throw new RangeError('Time.UnmarshalBinary: unsupported version')
  }
  if (bytes.length !== (version === version2 ? length + 1 : length)) {
    throw new RangeError('Time.UnmarshalBinary: invalid length')
  }
  const seconds = view.getInt32(1) * 2 ** 32 + view.getUint32(5) - Number(unixToYear1)
  return new Date(seconds * 1000 + Math.floor(view.getInt32(9) / 1_000_000))
}

/** Whether `date` is Go's zero time. */
export const isZeroTime = (date: Date): boolean => date.getTime() === zeroTime.getTime()
