/** What kinds of files an archive holds. */
export type EntryType =
  | 'file'
  | 'directory'
  | 'symlink'
  | 'hardlink'
  | 'character'
  | 'block'
  | 'fifo'

/**
 * One file of an archive. Names are byte strings (`#lib/bytes/byte-string.ts`) and as written there:
 * nothing is cleaned, and `..` and a leading `/` may be in them.
 */
export interface Entry {
  readonly type: EntryType
  readonly name: string
  /** What a link points to: any text for a symbolic link, the name of another entry for a hard link. */
  readonly linkName: string
  /** The lower twelve bits of the mode. */
  readonly mode: number
  /** Ids as written there: GNU's form and pax can say any, also ones below zero. */
  readonly uid: number
  readonly gid: number
  readonly userName: string
  readonly groupName: string
  /** Bytes of the file, holes included; 0 for what has no content. */
  readonly size: number
  /** Nanoseconds since the epoch. */
  readonly mtime: bigint
  readonly atime?: bigint | undefined
  readonly ctime?: bigint | undefined
  /** The number of a device. */
  readonly major: number
  readonly minor: number
  /** Extended attributes by name. */
  readonly xattrs: ReadonlyMap<string, Uint8Array>
}

/** Where a parser delivers what it reads. */
export interface Sink {
  /** A file begins. */
  entry(entry: Entry): void
  /**
   * Some of its content, from `offset` on. The bytes are the parser's input and may be used during
   * the call only. Holes of a sparse file are not delivered.
   */
  data(bytes: Uint8Array, offset: number): void
  /** The file is complete. */
  end(): void
}

/** The archive is damaged, or not one. */
export class TarError extends Error {
  override readonly name = 'TarError'
}
