import { fromBytes } from '#lib/bytes/byte-string.ts'

import { TarError } from './entry.ts'

/*
 * A header is one block of 512 bytes. Numbers are octal text, or binary when the first bit is set.
 *
 *   0 name 100 | 100 mode 8 | 108 uid 8 | 116 gid 8 | 124 size 12 | 136 mtime 12 | 148 checksum 8
 *   156 type 1 | 157 link name 100 | 257 magic 6 | 263 version 2 | 265 user 32 | 297 group 32
 *   329 major 8 | 337 minor 8
 *   ustar:  345 prefix 155
 *   star:   345 prefix 131 | 476 atime 12 | 488 ctime 12 | 508 "tar\0"
 *   GNU:    345 atime 12 | 357 ctime 12 | 386 four sparse pieces of 24 | 482 more 1 | 483 real size 12
 *
 * Sources: POSIX pax, `ustar` interchange format; GNU tar manual, "Basic Tar Format".
 */

/** The size of everything in an archive. */
export const blockSize = 512

/** The fields of one block, before anything extends them. */
export interface RawHeader {
  readonly name: string
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** Bytes that follow in the archive. */
  readonly size: number
  /** Seconds. */
  readonly mtime: number
  /** The character of the type field. */
  readonly flag: string
  readonly linkName: string
  readonly userName: string
  readonly groupName: string
  readonly major: number
  readonly minor: number
  readonly format: 'v7' | 'ustar' | 'star' | 'gnu'
}

/** Reads a header block. @throws {TarError} when its checksum or a number is wrong. */
export function parseHeader(block: Uint8Array): RawHeader {
  verifyChecksum(block)
  const format = formatOf(block)
  const extended = format !== 'v7'
  return {
    name: nameOf(block, format),
    mode: numberAt(block, 100, 8),
    uid: numberAt(block, 108, 8),
    gid: numberAt(block, 116, 8),
    size: sizeAt(block, 124),
    mtime: numberAt(block, 136, 12),
    flag: String.fromCharCode(block[156] ?? 0),
    linkName: textAt(block, 157, 100),
    format,
    userName: extended ? textAt(block, 265, 32) : '',
    groupName: extended ? textAt(block, 297, 32) : '',
    major: extended ? numberAt(block, 329, 8) : 0,
    minor: extended ? numberAt(block, 337, 8) : 0,
  }
}

/** Whether a block is all zeros; two of them end an archive. */
export const isZeroBlock = (block: Uint8Array): boolean => block.every((byte) => byte === 0)

/** Whether `text`, one byte a character, is at that place. */
function isAt(block: Uint8Array, at: number, text: string): boolean {
  for (let n = 0; n < text.length; n++) if (block[at + n] !== text.charCodeAt(n)) return false
  return true
}

function formatOf(block: Uint8Array): RawHeader['format'] {
  if (isAt(block, 257, 'ustar  \0')) return 'gnu'
  if (!isAt(block, 257, 'ustar\0')) return 'v7'
  return isAt(block, 508, 'tar\0') ? 'star' : 'ustar'
}

function nameOf(block: Uint8Array, format: RawHeader['format']): string {
  const name = textAt(block, 0, 100)
  if (format !== 'ustar' && format !== 'star') return name
  const prefix = textAt(block, 345, format === 'star' ? 131 : 155)
  return prefix === '' ? name : `${prefix}/${name}`
}

/** The sum of all bytes, with spaces for the sum itself; some old writers took bytes as signed. */
function verifyChecksum(block: Uint8Array): void {
  const [sumAt, sumEnd] = [148, 156]
  let sum = 0
  for (let at = 0; at < blockSize; at++) sum += block[at] ?? 0
  for (let at = sumAt; at < sumEnd; at++) sum += 0x20 - (block[at] ?? 0)
  const expected = numberAt(block, sumAt, sumEnd - sumAt)
  if (expected === sum) return
  const negative = block.filter((byte, at) => byte >= 0x80 && (at < sumAt || at >= sumEnd))
  if (expected !== sum - negative.length * 0x100)
    throw new TarError('archive/tar: invalid tar header')
}

/** The text of a field, which ends at its first NUL. */
export function textAt(block: Uint8Array, at: number, length: number): string {
  const nul = block.indexOf(0, at)
  const end = nul < 0 || nul > at + length ? at + length : nul
  return end === at ? '' : fromBytes(block.subarray(at, end))
}

/** A size field. @throws {TarError} when it is negative. */
export function sizeAt(block: Uint8Array, at: number): number {
  const size = numberAt(block, at, 12)
  if (size < 0) throw new TarError('archive/tar: invalid tar header')
  return size
}

/** A number field. @throws {TarError} when it is no number, or above 2^53. */
export function numberAt(block: Uint8Array, at: number, length: number): number {
  if ((block[at] ?? 0) & 0x80) return binaryAt(block, at, length)
  let value = 0
  let digits = false
  for (let i = at; i < at + length; i++) {
    const byte = block[i] ?? 0
    if (byte >= 0x30 && byte <= 0x37) {
      value = value * 8 + byte - 0x30
      digits = true
    } else if (byte === 0 || byte === 0x20) {
      if (digits) break
    } else throw new TarError('archive/tar: invalid tar header')
  }
  return value
}

/** Big-endian two's complement, the first bit being the mark. */
function binaryAt(block: Uint8Array, at: number, length: number): number {
  let value = BigInt.asIntN(7, BigInt(block[at] ?? 0))
  for (let i = at + 1; i < at + length; i++) value = (value << 8n) | BigInt(block[i] ?? 0)
  const number = Number(value)
  if (!Number.isSafeInteger(number)) throw new TarError('archive/tar: invalid tar header')
  return number
}
