import { type Entry, type EntryType, TarError } from './entry.ts'
import { type RawHeader, numberAt } from './header.ts'
import { type PaxRecords, paxInteger, paxNumber, paxText, paxTime, paxXattrs } from './pax.ts'

/** What came before a header and extends it. */
export interface Extensions {
  readonly pax: PaxRecords
  /** GNU's entries for long names; they win over pax. */
  readonly longName: string | undefined
  readonly longLink: string | undefined
}

/** An entry, and how many bytes of it follow in the archive. */
export interface Assembled {
  readonly entry: Entry
  readonly stored: number
}

const types: Readonly<Record<string, EntryType>> = {
  '\0': 'file',
  '0': 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'character',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
  '7': 'file',
  S: 'file',
}

/** Puts a header and its extensions together. @throws {TarError} for a type that is no file. */
export function assemble(header: RawHeader, block: Uint8Array, extensions: Extensions): Assembled {
  const { values } = extensions.pax
  const text = (key: string, plain: string): string => given(values, key, paxText) ?? plain
  const number = (key: string, plain: number): number => given(values, key, paxNumber) ?? plain

  const name = extensions.longName ?? text('GNU.sparse.name', text('path', header.name))
  const type = typeOf(header.flag, name)
  const stored = type === 'file' ? number('size', header.size) : storedOf(header, type, number)
  const entry: Entry = {
    type,
    name,
    linkName: extensions.longLink ?? text('linkpath', header.linkName),
    mode: header.mode & 0o7777,
    uid: given(values, 'uid', paxInteger) ?? header.uid,
    gid: given(values, 'gid', paxInteger) ?? header.gid,
    userName: text('uname', header.userName),
    groupName: text('gname', header.groupName),
    size: type === 'file' ? stored : 0,
    mtime: given(values, 'mtime', paxTime) ?? seconds(header.mtime),
    ...gnuTimes(header, block),
    ...paxTimes(values),
    major: header.major,
    minor: header.minor,
    xattrs: values.size === 0 ? noXattrs : paxXattrs(values),
  }
  return { entry, stored }
}

const noXattrs: ReadonlyMap<string, Uint8Array> = new Map()

const seconds = (value: number): bigint => BigInt(value) * 1_000_000_000n

/** Old archives write directories as files whose name ends in a slash; only those have content. */
function typeOf(flag: string, name: string): EntryType {
  const type = types[flag]
  if (!type) throw new TarError(`unhandled tar header type ${flag.charCodeAt(0)}`)
  return type === 'file' && flag !== 'S' && name.endsWith('/') ? 'directory' : type
}

function storedOf(
  header: RawHeader,
  type: EntryType,
  number: (key: string, plain: number) => number,
): number {
  const oldDirectory = type === 'directory' && header.flag !== '5'
  return oldDirectory ? number('size', header.size) : 0
}

/** The value of a record; an empty one means that the header's counts. */
function given<T>(
  values: ReadonlyMap<string, Uint8Array>,
  key: string,
  parse: (value: Uint8Array) => T,
): T | undefined {
  const value = values.get(key)
  return value === undefined || value.length === 0 ? undefined : parse(value)
}

type Times = Pick<Entry, 'atime' | 'ctime'>

function gnuTimes(header: RawHeader, block: Uint8Array): Times {
  if (header.format !== 'gnu') return {}
  const at = (field: number): bigint | undefined =>
    block[field] === 0 ? undefined : seconds(numberAt(block, field, 12))
  return { atime: at(345), ctime: at(357) }
}

function paxTimes(values: ReadonlyMap<string, Uint8Array>): Times {
  const atime = given(values, 'atime', paxTime)
  const ctime = given(values, 'ctime', paxTime)
  return {
    ...(atime === undefined ? {} : { atime }),
    ...(ctime === undefined ? {} : { ctime }),
  }
}
