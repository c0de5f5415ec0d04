import { closeSync, constants, readSync } from 'node:fs'
import { posix } from 'node:path'

import type { EntryType } from '#lib/tar/entry.ts'
import { encodeHeader, type EntryToWrite, paddingOf } from '#lib/tar/writer.ts'
import { openat2, Resolve } from '#sys/openat2.ts'
import { O_PATH } from '#sys/resolve.ts'
import { type FileStat, fstatat } from '#sys/stat.ts'

import type { Change } from './changes.ts'
import { dirname } from './directories.ts'
import { isBlock, isCharacter, isDirectory, isRegular, isSocket, isSymlink } from './file-kind.ts'
import { capabilityOf, type Node, openFile, readLink } from './tree.ts'
import { whiteoutPrefix } from './whiteouts.ts'

const pieceSize = 256 * 1024
const second = 1_000_000_000n

export interface ChangeWriterOptions {
  /** The tree the changes are of, as an open directory. */
  readonly root: number
  /** Times after this one, in nanoseconds since the epoch, become this one. */
  readonly latestTime?: bigint | undefined
}

/**
 * Writes changes as the archive of an OCI layer, in pieces: the same bytes that containerd writes.
 * Every directory that something is in comes before it; files with several names are written once.
 */
export class ChangeWriter {
  readonly #root: number
  readonly #latestTime: bigint | undefined
  readonly #directories = new Set<string>()
  /** The name that a file with several was written by. */
  readonly #written = new Map<bigint, string>()
  /** Names of unchanged files, wanted as soon as another name of theirs is written. */
  readonly #unwritten = new Map<bigint, Node[]>()

  constructor(options: ChangeWriterOptions) {
    this.#root = options.root
    this.#latestTime = options.latestTime
  }

  /** The pieces of the archive that say `change`. @throws {SystemError} */
  *pieces(change: Change): Generator<Uint8Array> {
    if (change.kind === 'deleted') yield* this.#whiteout(change.path)
    else if (isSocket(change.node.stat)) return
    else yield* this.#file(change.node, change.kind === 'linked')
  }

  *#whiteout(path: string): Generator<Uint8Array> {
    const name = posix.join(dirname(path), whiteoutPrefix + posix.basename(path))
    yield* this.#parents(name)
    yield encodeHeader({ type: 'file', name, mode: 0 })
  }

  *#file(node: Node, unchanged: boolean): Generator<Uint8Array> {
    const { ino, nlink } = node.stat
    const linked = !isDirectory(node.stat) && nlink > 1
    const first = linked ? this.#written.get(ino) : undefined
    if (first !== undefined) {
      yield* this.#header(node, { type: 'hardlink', linkName: first, size: 0 })
      return
    }
    if (unchanged) {
      this.#unwritten.set(ino, [...(this.#unwritten.get(ino) ?? []), node])
      return
    }
    yield* this.#header(node, {})
    if (isRegular(node.stat)) yield* content(node)
    if (!linked) return
    this.#written.set(ino, node.path)
    for (const other of this.#unwritten.get(ino) ?? []) {
      yield* this.#header(node, {
        type: 'hardlink',
        name: other.path,
        linkName: node.path,
        size: 0,
      })
    }
    this.#unwritten.delete(ino)
  }

  *#header(node: Node, changed: Partial<EntryToWrite>): Generator<Uint8Array> {
    const entry = { ...this.#entryOf(node), ...changed }
    yield* this.#parents(entry.name)
    if (entry.type === 'directory') this.#directories.add(node.path)
    yield encodeHeader(entry)
  }

  #entryOf(node: Node): EntryToWrite {
    const { stat } = node
    const type = typeOf(stat)
    const late = this.#latestTime !== undefined && stat.mtime > this.#latestTime
    const mtime = late && this.#latestTime !== undefined ? this.#latestTime : stat.mtime
    const capability = capabilityOf(node)
    return {
      type,
      name: type === 'directory' ? `${node.path}/` : node.path,
      linkName: type === 'symlink' ? readLink(node) : '',
      mode: stat.mode & 0o7777,
      uid: stat.uid,
      gid: stat.gid,
      size: type === 'file' ? stat.size : 0,
      mtime: wholeSeconds(mtime),
      ...stat.rdev,
      xattrs: new Map(capability?.length ? [['security.capability', capability]] : []),
    }
  }

  /** Headers of the directories that `name` is in and that were not written yet. */
  *#parents(name: string): Generator<Uint8Array> {
    const parent = dirname(name.endsWith('/') ? name.slice(0, -1) : name)
    if (parent === '' || this.#directories.has(parent)) return
    this.#directories.add(parent)
    const resolve = Resolve.beneath | Resolve.noSymlinks
    const flags = O_PATH | constants.O_DIRECTORY
    const fd = openat2(this.#root, parent, { flags, resolve })
    try {
      const stat = fstatat(fd, '.')
      yield* this.#header({ dir: fd, name: '.', path: parent, stat }, {})
    } finally {
      closeSync(fd)
    }
  }
}

/** Without the fraction, which counts upwards also before 1970. */
const wholeSeconds = (ns: bigint): bigint => ns - (((ns % second) + second) % second)

function typeOf(stat: FileStat): EntryType {
  if (isRegular(stat)) return 'file'
  if (isDirectory(stat)) return 'directory'
  if (isSymlink(stat)) return 'symlink'
  if (isCharacter(stat)) return 'character'
  return isBlock(stat) ? 'block' : 'fifo'
}

/** As many bytes as the header said, and zeros up to a whole block. */
function* content(node: Node): Generator<Uint8Array> {
  if (node.stat.size === 0) return
  const fd = openFile(node)
  try {
    for (let left = node.stat.size; left > 0; ) {
      const piece = Buffer.allocUnsafe(Math.min(left, pieceSize))
      const length = readSync(fd, piece, 0, piece.length, null)
      if (length === 0) throw new Error(`"${node.path}" became shorter while it was read`)
      yield piece.subarray(0, length)
      left -= length
    }
  } finally {
    closeSync(fd)
  }
  yield new Uint8Array(paddingOf(node.stat.size))
}
