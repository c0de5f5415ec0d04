import { closeSync } from 'node:fs'

import { fromBytes } from '#lib/bytes/byte-string.ts'
import {
  isBlock,
  isCharacter,
  isDirectory,
  isRegular,
  isSymlink,
  isWhiteout,
} from '#plugins/diff/walking/file-kind.ts'
import { openChild } from '#sys/tree.ts'
import { type Node, nodesIn } from '#plugins/diff/walking/tree.ts'
import { inUserNamespace } from '#plugins/diff/walking/user-namespace.ts'
import { isErrno } from '#sys/errno.ts'
import { readlinkat } from '#sys/file.ts'
import { openRoot } from '#sys/resolve.ts'
import type { FileStat } from '#sys/stat.ts'
import { lgetxattr, llistxattr } from '#sys/xattr.ts'

import type { Expected } from './expected-tree.ts'

/** Told of each difference: where, and what it is. */
export type Report = (path: string, difference: string) => void

const second = 1_000_000_000n
const opaqueKeys = ['trusted.overlay.opaque', 'user.overlay.opaque']
/** Attributes of files that only an image sets, so that there is none it does not name. */
const imageOnly = /^user\.(?!overlay\.)|^security\.capability$/

/**
 * Compares the directory `path` with what is expected in it: names, types, owners, modes, sizes, times
 * to the nanosecond, attributes, links, devices, and what the content was found to be.
 *
 * @returns how many files were looked at.
 * @throws {SystemError} when something cannot be read.
 */
export function compareTree(path: string, expected: Expected, report: Report): number {
  const walk = new Walk(report)
  const root = openRoot(path)
  try {
    walk.directory(root, '', expected)
  } finally {
    closeSync(root)
  }
  return walk.files
}

class Walk {
  files = 0
  readonly #report: Report
  /** Which file on disk stands for each expected one: names of one file are of one inode. */
  readonly #inodes = new Map<Expected, bigint>()
  readonly #noDevices = inUserNamespace()

  constructor(report: Report) {
    this.#report = report
  }

  directory(fd: number, path: string, expected: Expected): void {
    const missing = new Map(expected.children)
    for (const node of nodesIn(fd, path)) {
      const file = expected.children.get(node.name)
      missing.delete(node.name)
      this.files++
      if (file) this.#file(node, file)
      else this.#report(node.path, 'not in the layer')
    }
    for (const [name, { kind }] of missing) {
      if (this.#noDevices && (kind === 'character' || kind === 'block')) continue
      this.#report(path === '' ? name : `${path}/${name}`, `missing ${nameOf(kind)}`)
    }
  }

  #file(node: Node, expected: Expected): void {
    const found = kindOf(node.stat)
    if (found !== expected.kind) {
      this.#report(node.path, `${nameOf(found)} instead of ${nameOf(expected.kind)}`)
      return
    }
    const differences = [...this.#differences(node, expected)]
    if (differences.length > 0) this.#report(node.path, differences.join(', '))
    if (expected.kind === 'directory') this.#below(node, expected)
  }

  #below(node: Node, expected: Expected): void {
    const fd = openChild(node.dir, node.name)
    try {
      this.directory(fd, node.path, expected)
    } finally {
      closeSync(fd)
    }
  }

  *#differences(node: Node, expected: Expected): Generator<string> {
    const { stat } = node
    if (expected.kind === 'file') yield* this.#content(stat, expected)
    if (expected.kind === 'symlink') {
      const target = fromBytes(readlinkat(node.dir, node.name))
      if (target !== expected.linkName) {
        yield `links to ${quote(target)} instead of ${quote(expected.linkName)}`
      }
    }
    if (expected.kind === 'character' || expected.kind === 'block') {
      const { major, minor } = expected.device
      if (stat.rdev.major !== major || stat.rdev.minor !== minor) {
        yield `device ${stat.rdev.major}:${stat.rdev.minor} instead of ${major}:${minor}`
      }
    }
    if (expected.kind !== 'whiteout') yield* attributes(node, expected)
  }

  *#content(stat: FileStat, expected: Expected): Generator<string> {
    if (stat.size !== expected.size) yield `${stat.size} bytes instead of ${expected.size}`
    else if (expected.difference !== undefined) yield expected.difference
    const inode = this.#inodes.getOrInsertComputed(expected, () => stat.ino)
    if (inode !== stat.ino) yield 'no longer the same file as its other names'
  }
}

function* attributes(node: Node, expected: Expected): Generator<string> {
  const { stat } = node
  const wanted = expected.attributes
  if (wanted) {
    if (stat.uid !== wanted.uid || stat.gid !== wanted.gid) {
      yield `owner ${stat.uid}:${stat.gid} instead of ${wanted.uid}:${wanted.gid}`
    }
    const mode = stat.mode & 0o7777
    if (expected.kind !== 'symlink' && mode !== wanted.mode) {
      yield `mode ${octal(mode)} instead of ${octal(wanted.mode)}`
    }
    if (expected.mtime !== undefined && !sameTime(stat.mtime, expected.mtime)) {
      yield `modified ${time(stat.mtime)} instead of ${time(expected.mtime)}`
    }
  }
  yield* xattrs(node, expected)
}

/** File systems that keep no fraction of a second have what is before the point. */
const sameTime = (found: bigint, wanted: bigint): boolean =>
  found === wanted || (found % second === 0n && found === wanted - (wanted % second))

function* xattrs({ dir, name }: Node, expected: Expected): Generator<string> {
  const path = `/proc/self/fd/${dir}/${name}`
  const names = namesOf(path)
  // The file system has none at all.
  if (!names) return
  const opaque = opaqueKeys.some((key) => names.includes(key) && isYes(lgetxattr(path, key)))
  if (opaque && expected.opaque === 'no') yield 'hides what is below it'
  if (!opaque && expected.opaque === 'yes') yield 'does not hide what is below it'
  const wanted = expected.attributes?.xattrs
  for (const [key, value] of wanted ?? []) {
    if (key.startsWith('trusted.') || !canHave(expected, key)) continue
    const found = names.includes(key) ? lgetxattr(path, key) : undefined
    if (!found) yield `without attribute ${key}`
    else if (Buffer.compare(found, value) !== 0) yield `another value of attribute ${key}`
  }
  if (!expected.attributes) return
  const extra = names.find((key) => imageOnly.test(key) && wanted?.has(key) !== true)
  if (extra !== undefined) yield `with attribute ${extra}`
}

/** The `user.` ones exist only on files and directories. */
const canHave = ({ kind }: Expected, key: string): boolean =>
  !key.startsWith('user.') || kind === 'file' || kind === 'directory'

const isYes = (value: Uint8Array | undefined): boolean => value?.[0] === 'y'.charCodeAt(0)

function namesOf(path: string): readonly string[] | undefined {
  try {
    return llistxattr(path)
  } catch (err) {
    if (isErrno(err, 'ENOTSUP')) return undefined
    throw err
  }
}

function kindOf(stat: FileStat): Expected['kind'] | 'socket' {
  if (isRegular(stat)) return 'file'
  if (isDirectory(stat)) return 'directory'
  if (isSymlink(stat)) return 'symlink'
  if (isWhiteout(stat)) return 'whiteout'
  if (isCharacter(stat)) return 'character'
  if (isBlock(stat)) return 'block'
  return (stat.mode & 0o170000) === 0o010000 ? 'fifo' : 'socket'
}

const names: Readonly<Record<Expected['kind'] | 'socket', string>> = {
  file: 'file',
  directory: 'directory',
  symlink: 'symbolic link',
  whiteout: 'mark of a deleted file',
  character: 'character device',
  block: 'block device',
  fifo: 'pipe',
  socket: 'socket',
}

const nameOf = (kind: keyof typeof names): string => names[kind]
const quote = (text: string): string => JSON.stringify(text)
const octal = (mode: number): string => `0${mode.toString(8)}`
const time = (ns: bigint): string => {
  const fraction = String(((ns % second) + second) % second).padStart(9, '0')
  return `${new Date(Number(ns / 1_000_000n)).toISOString().slice(0, 19)}.${fraction}Z`
}
