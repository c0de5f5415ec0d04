import { toBytes } from '#lib/bytes/byte-string.ts'

import type { Entry, EntryType } from './entry.ts'
import { blockSize } from './header.ts'

/** What is written of an entry. */
export type EntryToWrite = Pick<Entry, 'type' | 'name' | 'mode'> & Partial<Omit<Entry, 'type'>>

const flags: Readonly<Record<EntryType, string>> = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  character: '3',
  block: '4',
  directory: '5',
  fifo: '6',
}

/** What ends an archive. */
export const endOfArchive: Uint8Array = new Uint8Array(2 * blockSize)

/** How many zeros fill content of `size` bytes up to whole blocks. */
export const paddingOf = (size: number): number => (blockSize - (size % blockSize)) % blockSize

/**
 * The header blocks of an entry: ustar, with a pax header before it for what does not fit there. A name
 * above 100 bytes is split at a slash, as ustar can, unless there is a pax header anyway. The bytes are
 * those of Go's `archive/tar` in its pax format, so that layers made from the same files have the same
 * digest as containerd's.
 */
export function encodeHeader(entry: EntryToWrite): Uint8Array {
  const split = splitName(entry.name)
  const records = paxRecords(split ? { ...entry, name: split.name } : entry)
  if (records.length > 0)
    return Buffer.concat([paxBlocks(entry.name, paxRecords(entry)), ustarBlock(entry, '')])
  return split ? ustarBlock({ ...entry, name: split.name }, split.prefix) : ustarBlock(entry, '')
}

/** The parts of a name that ustar can hold only in two fields. */
function splitName(name: string): { readonly prefix: string; readonly name: string } | undefined {
  if (name.length <= 100 || !isAscii(name)) return undefined
  const end = name.length > 156 ? 156 : name.length - (name.endsWith('/') ? 1 : 0)
  const slash = name.lastIndexOf('/', end - 1)
  const rest = name.length - slash - 1
  if (slash <= 0 || rest > 100 || rest === 0) return undefined
  return { prefix: name.slice(0, slash), name: name.slice(slash + 1) }
}

const second = 1_000_000_000n

function ustarBlock(entry: EntryToWrite, prefix: string): Uint8Array {
  const block = new Uint8Array(blockSize)
  const { mode, uid = 0, gid = 0, size = 0, mtime = 0n, major = 0, minor = 0 } = entry
  putName(block, entry.name)
  putOctal(block, 100, 8, mode)
  putOctal(block, 108, 8, uid)
  putOctal(block, 116, 8, gid)
  putOctal(block, 124, 12, size)
  putOctal(block, 136, 12, Number(floorDivide(mtime)))
  putText(block, 156, 1, flags[entry.type])
  putText(block, 157, 100, ascii(entry.linkName ?? ''))
  putText(block, 265, 32, ascii(entry.userName ?? ''))
  putText(block, 297, 32, ascii(entry.groupName ?? ''))
  putOctal(block, 329, 8, major)
  putOctal(block, 337, 8, minor)
  putText(block, 345, 155, prefix)
  return seal(block)
}

/** Adds magic, version and checksum. */
function seal(block: Uint8Array): Uint8Array {
  putText(block, 257, 8, 'ustar\x0000')
  block.fill(0x20, 148, 156)
  const sum = block.reduce((total, byte) => total + byte, 0)
  putOctal(block, 148, 7, sum)
  block[154] = 0
  return block
}

/** A name cut inside must not end in a slash, or old readers take the file for a directory. */
function putName(block: Uint8Array, name: string): void {
  const text = ascii(name)
  putText(block, 0, 100, text)
  if (text.length > 100 && text[99] === '/') {
    block[text.slice(0, 99).replace(/\/+$/, '').length] = 0
  }
}

function putText(block: Uint8Array, at: number, length: number, text: string): void {
  block.set(Buffer.from(text, 'latin1').subarray(0, length), at)
}

function putOctal(block: Uint8Array, at: number, length: number, value: number): void {
  const fits = fitsOctal(value, length) ? value : 0
  putText(block, at, length, fits.toString(8).padStart(length - 1, '0'))
}

const fitsOctal = (value: number, length: number): boolean =>
  value >= 0 && value < 8 ** (length - 1)

const isAscii = (text: string): boolean => /^[\0-\x7f]*$/.test(text)
const ascii = (text: string): string => text.replace(/[^\0-\x7f]/gu, '')

function floorDivide(ns: bigint): bigint {
  const quotient = ns / second
  return ns % second < 0n ? quotient - 1n : quotient
}

type PaxRecord = readonly [key: string, value: Uint8Array]

/** What the ustar block cannot say, sorted by key. */
function paxRecords(entry: EntryToWrite): readonly PaxRecord[] {
  const { uid = 0, gid = 0, size = 0, mtime = 0n, atime, ctime } = entry
  const records = new Map<string, Uint8Array>()
  const text = (key: string, value: string, room: number): void => {
    if (!isAscii(value) || value.length > room) records.set(key, toBytes(value))
  }
  const number = (key: string, value: number, room: number): void => {
    if (!fitsOctal(value, room)) records.set(key, toBytes(String(value)))
  }
  text('path', entry.name, 100)
  text('linkpath', entry.linkName ?? '', 100)
  text('uname', entry.userName ?? '', 32)
  text('gname', entry.groupName ?? '', 32)
  number('uid', uid, 8)
  number('gid', gid, 8)
  number('size', size, 12)
  const fits = mtime % second === 0n && fitsOctal(Number(mtime / second), 12)
  if (!fits) records.set('mtime', toBytes(timeText(mtime)))
  if (atime !== undefined) records.set('atime', toBytes(timeText(atime)))
  if (ctime !== undefined) records.set('ctime', toBytes(timeText(ctime)))
  for (const [name, value] of entry.xattrs ?? []) records.set(`SCHILY.xattr.${name}`, value)
  return [...records].toSorted(([a], [b]) => Buffer.compare(toBytes(a), toBytes(b)))
}

function timeText(ns: bigint): string {
  const sign = ns < 0n ? '-' : ''
  const positive = ns < 0n ? -ns : ns
  const fraction = String(positive % second)
    .padStart(9, '0')
    .replace(/0+$/, '')
  return `${sign}${positive / second}${fraction === '' ? '' : `.${fraction}`}`
}

function paxBlocks(name: string, records: readonly PaxRecord[]): Uint8Array {
  const content = Buffer.concat(records.map(encodeRecord))
  const header = new Uint8Array(blockSize)
  putText(header, 0, 100, ascii(paxName(name)).slice(0, 100).replace(/\/+$/, ''))
  putOctal(header, 100, 8, 0)
  putOctal(header, 108, 8, 0)
  putOctal(header, 116, 8, 0)
  putOctal(header, 124, 12, content.length)
  putOctal(header, 136, 12, 0)
  putText(header, 156, 1, 'x')
  return Buffer.concat([seal(header), content, new Uint8Array(paddingOf(content.length))])
}

/** `dir/PaxHeaders.0/base` for `dir/base`. */
function paxName(name: string): string {
  const slash = name.lastIndexOf('/')
  const parts = [...name.slice(0, slash + 1).split('/'), 'PaxHeaders.0', name.slice(slash + 1)]
  const joined = parts.filter((part) => part !== '' && part !== '.').join('/')
  return name.startsWith('/') ? `/${joined}` : joined
}

/** `length key=value\n`, the length counting its own digits. */
function encodeRecord([key, value]: PaxRecord): Uint8Array {
  const rest = toBytes(` ${key}=`).length + value.length + 1
  let length = rest + String(rest).length
  if (String(length).length > String(rest).length) length = rest + String(length).length
  return Buffer.concat([toBytes(`${length} ${key}=`), value, Buffer.of(0x0a)])
}
