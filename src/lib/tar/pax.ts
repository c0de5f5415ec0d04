import { fromBytes } from '#lib/bytes/byte-string.ts'

import { TarError } from './entry.ts'
import type { SparsePiece } from './sparse.ts'

/**
 * The records of a pax extended header, `length key=value\n` each, the length counting itself.
 * Values are bytes; those of attributes may be any.
 */
export interface PaxRecords {
  readonly values: ReadonlyMap<string, Uint8Array>
  /** The pieces that GNU's sparse format 0.0 writes as repeated records. */
  readonly pieces: readonly SparsePiece[]
}

export const noRecords: PaxRecords = { values: new Map(), pieces: [] }

/** Reads the content of an extended header; a key said twice has its last value. @throws {TarError} */
export function parsePax(bytes: Uint8Array): PaxRecords {
  const values = new Map<string, Uint8Array>()
  const pieces: SparsePiece[] = []
  let offset: number | undefined
  for (let at = 0; at < bytes.length; ) {
    const { key, value, next } = recordAt(bytes, at)
    at = next
    if (key === 'GNU.sparse.offset') offset = paxNumber(value)
    else if (key === 'GNU.sparse.numbytes') {
      if (offset === undefined) throw invalid()
      pieces.push({ offset, length: paxNumber(value) })
      offset = undefined
    } else values.set(key, value)
  }
  return { values, pieces }
}

interface PaxRecord {
  readonly key: string
  readonly value: Uint8Array
  readonly next: number
}

function recordAt(bytes: Uint8Array, at: number): PaxRecord {
  const space = bytes.indexOf(0x20, at)
  if (space < 0 || space - at > 10) throw invalid()
  const next = at + paxNumber(bytes.subarray(at, space))
  const equals = bytes.indexOf(0x3d, space)
  if (next > bytes.length || bytes[next - 1] !== 0x0a) throw invalid()
  if (equals <= space + 1 || equals >= next) throw invalid()
  const key = fromBytes(bytes.subarray(space + 1, equals))
  return { key, value: bytes.subarray(equals + 1, next - 1), next }
}

/** A value that is a whole number. @throws {TarError} */
export function paxNumber(value: Uint8Array): number {
  const text = fromBytes(value)
  const number = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(number)) throw invalid()
  return number
}

/** A value that is a whole number, perhaps below zero. @throws {TarError} */
export function paxInteger(value: Uint8Array): number {
  const negative = value[0] === 0x2d
  const number = paxNumber(negative ? value.subarray(1) : value)
  return negative ? 0 - number : number
}

/** A value that is text. @throws {TarError} when it has a NUL. */
export function paxText(value: Uint8Array): string {
  if (value.includes(0)) throw invalid()
  return fromBytes(value)
}

/** A time in seconds with any number of decimals, as nanoseconds; what is finer is cut off. @throws {TarError} */
export function paxTime(value: Uint8Array): bigint {
  const match = /^(-?)(\d{1,15})(?:\.(\d*))?$/.exec(fromBytes(value))
  if (!match) throw invalid()
  const [, sign, seconds = '0', fraction = ''] = match
  const ns = BigInt(seconds) * 1_000_000_000n + BigInt(fraction.slice(0, 9).padEnd(9, '0'))
  return sign === '-' ? -ns : ns
}

const schily = 'SCHILY.xattr.'
const libarchive = 'LIBARCHIVE.xattr.'

/** The extended attributes among records: star's form, else libarchive's (base64, name URL-encoded). */
export function paxXattrs(
  values: ReadonlyMap<string, Uint8Array>,
): ReadonlyMap<string, Uint8Array> {
  const xattrs = new Map<string, Uint8Array>()
  for (const [key, value] of values) {
    if (key.startsWith(schily)) xattrs.set(key.slice(schily.length), value)
    else if (key.startsWith(libarchive)) {
      const name = decodeName(key.slice(libarchive.length))
      if (values.has(schily + name)) continue
      xattrs.set(name, Buffer.from(fromBytes(value), 'base64'))
    }
  }
  return xattrs
}

function decodeName(name: string): string {
  try {
    return decodeURIComponent(name)
  } catch {
    return name
  }
}

const invalid = (): TarError => new TarError('archive/tar: invalid tar header')
