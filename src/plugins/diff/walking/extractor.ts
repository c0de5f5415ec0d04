import { closeSync, constants, ftruncateSync, writeSync } from 'node:fs'
import { posix } from 'node:path'

import { type Entry, type Sink, TarError } from '#lib/tar/entry.ts'
import { isErrno, systemError } from '#sys/errno.ts'
import { AT_SYMLINK_NOFOLLOW, mkdirat, symlinkat, type Times, utimensat } from '#sys/file.ts'
import { makeDevice, mknodat, NodeType } from '#sys/node.ts'
import { openat2, Resolve } from '#sys/openat2.ts'
import { WriteBehind } from '#sys/write-behind.ts'

import { ownerOf, setAllButTimes, setAttributes, setFileAttributes, timesOf } from './attributes.ts'
import { cleanPath, Directories, type Directory, dirname } from './directories.ts'
import { isDirectory, isSymlink, isWhiteout } from './file-kind.ts'
import { HardLinks } from './hard-links.ts'
import { LowerLayers, type Overlay } from './lower-layers.ts'
import { lookAt } from '#sys/tree.ts'
import { Replacer } from './replace.ts'
import { inUserNamespace } from './user-namespace.ts'
import {
  opaqueMarker,
  OverlayWhiteouts,
  RemovingWhiteouts,
  whiteoutPrefix,
  type Whiteouts,
} from './whiteouts.ts'

/** Where a layer is unpacked to. */
export interface ExtractTarget {
  readonly path: string
  /** Present when `path` is the upper directory of an overlay. */
  readonly overlay?: Overlay | undefined
}

interface OpenFile {
  readonly fd: number
  readonly entry: Entry
  readonly path: string
  readonly behind: WriteBehind
  /** How far the content reaches. */
  end: number
}

const createFlags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL
const inDirectory = Resolve.beneath | Resolve.noSymlinks

/**
 * Makes the files of a layer. Each is made by its name in an open directory that the kernel has
 * resolved inside the target, and never by opening what is already there: no link an archive brings
 * is followed by what comes after it.
 */
export class Extractor implements Sink, Disposable {
  readonly #directories: Directories
  readonly #replacer: Replacer
  readonly #hardLinks: HardLinks
  readonly #whiteouts: Whiteouts
  /** Whether attributes `user.overlay.*` mean something to the kernel. */
  readonly #userxattr: boolean
  readonly #left: Set<string> | undefined
  readonly #stack = new DisposableStack()
  /** Times of directories, set when nothing changes them any more. */
  readonly #directoryTimes = new Map<string, Times>()
  readonly #skipDevices = inUserNamespace()
  #file: OpenFile | undefined
  #unwritten = 0

  /** @throws {SystemError} */
  constructor(target: ExtractTarget) {
    const { overlay } = target
    const lowers = this.#stack.use(new LowerLayers(overlay))
    const directories = (): Directories => this.#directories
    this.#userxattr = overlay?.userxattr ?? false
    this.#left = overlay?.left
    this.#whiteouts = overlay
      ? new OverlayWhiteouts(directories, lowers, overlay)
      : new RemovingWhiteouts(directories)
    this.#directories = this.#stack.use(
      new Directories(target.path, lowers, (path) => this.#whiteouts.unpacked(path)),
    )
    this.#replacer = new Replacer(this.#directories)
    this.#hardLinks = new HardLinks(this.#directories, this.#replacer, lowers)
  }

  /** How many bytes of the files so far did not begin to go to the disk. */
  get unwritten(): number {
    return this.#unwritten
  }

  /** @throws {SystemError}, {TarError} for names that cannot be. */
  entry(entry: Entry): void {
    const path = cleanPath(entry.name)
    // The root itself keeps what it has.
    if (path === '') return
    const dir = this.#directories.make(dirname(path))
    const name = posix.basename(path)
    if (name === opaqueMarker) this.#whiteouts.opaque(dir)
    else if (name.startsWith(whiteoutPrefix)) this.#delete(dir, name, entry)
    else this.#make(dir, name, this.#userxattr ? withoutOverlayAttributes(entry) : entry)
  }

  /** @throws {SystemError} */
  data(bytes: Uint8Array, offset: number): void {
    const file = this.#file
    if (!file) return
    try {
      for (let at = 0; at < bytes.length; ) {
        at += writeSync(file.fd, bytes, at, bytes.length - at, offset + at)
      }
      file.behind.grown(offset + bytes.length)
    } catch (err) {
      throw withPath(err, file.path)
    }
    file.end = offset + bytes.length
  }

  /** @throws {SystemError} */
  end(): void {
    const file = this.#file
    if (!file) return
    if (file.end < file.entry.size) ftruncateSync(file.fd, file.entry.size)
    setFileAttributes(file.fd, file.entry)
    this.#file = undefined
    this.#unwritten += file.behind.ended(file.end)
    closeSync(file.fd)
  }

  /** Does what had to wait until all was unpacked. @throws {SystemError} */
  finish(): void {
    this.#whiteouts.finish()
    for (const [path, times] of this.#directoryTimes) {
      const dir = this.#directories.find(dirname(path))
      const name = posix.basename(path)
      const stat = dir && lookAt(dir.fd, name)
      if (stat && isDirectory(stat)) utimensat(dir.fd, name, times, AT_SYMLINK_NOFOLLOW)
    }
  }

  [Symbol.dispose](): void {
    if (this.#file) closeSync(this.#file.fd)
    this.#file = undefined
    this.#stack.dispose()
  }

  #delete(dir: Directory, name: string, entry: Entry): void {
    const deleted = name.slice(whiteoutPrefix.length)
    if (deleted === '' || deleted === '.' || deleted === '..') {
      throw new TarError(`invalid whiteout name: ${name}`)
    }
    this.#whiteouts.delete(dir, deleted, ownerOf(entry))
  }

  #make(dir: Directory, name: string, entry: Entry): void {
    const path = dir.path === '' ? name : `${dir.path}/${name}`
    if (entry.type === 'file') {
      const fd = this.#replacer.replacing(dir, name, () => {
        return openat2(dir.fd, name, {
          flags: createFlags,
          mode: entry.mode & 0o777,
          resolve: inDirectory,
        })
      })
      this.#file = { fd, entry, path, behind: new WriteBehind(fd), end: 0 }
    } else if (entry.type === 'directory') this.#makeDirectory(dir, name, path, entry)
    else if (entry.type === 'hardlink') this.#link(dir, name, entry)
    else if (entry.type === 'symlink') {
      this.#replacer.replacing(dir, name, () => symlinkat(entry.linkName, dir.fd, name))
      setAttributes(dir.fd, name, entry, true)
    } else if (!this.#makeNode(dir, name, entry)) return
    this.#whiteouts.unpacked(path)
  }

  /** A directory that is there already is kept, with what is in it. */
  #makeDirectory(dir: Directory, name: string, path: string, entry: Entry): void {
    const mode = entry.mode & 0o777
    try {
      mkdirat(dir.fd, name, mode)
    } catch (err) {
      if (!isErrno(err, 'EEXIST')) throw err
      const stat = lookAt(dir.fd, name)
      if (!stat || !isDirectory(stat)) {
        const removed = this.#replacer.remove(dir, name)
        mkdirat(dir.fd, name, mode)
        if (removed && isWhiteout(removed)) this.#whiteouts.replaced(dir, name)
      }
    }
    setAllButTimes(dir.fd, name, entry, false)
    this.#left?.delete(path)
    this.#directoryTimes.set(path, timesOf(entry))
  }

  #link(dir: Directory, name: string, entry: Entry): void {
    this.#hardLinks.make(dir, name, entry)
    const stat = lookAt(dir.fd, name)
    setAttributes(dir.fd, name, entry, stat !== undefined && isSymlink(stat))
  }

  /** Makes a device or a pipe; false when this process may make no devices. */
  #makeNode(dir: Directory, name: string, entry: Entry): boolean {
    const { type, major, minor } = entry
    if (type !== 'character' && type !== 'block' && type !== 'fifo') return false
    if (type !== 'fifo' && this.#skipDevices) return false
    if (![major, minor].every((number) => number >= 0 && number <= 0xffffffff)) {
      throw new TarError(`device number ${major}:${minor} for "${entry.name}" out of range`)
    }
    const device = type === 'fifo' ? 0 : makeDevice(major, minor)
    this.#replacer.replacing(dir, name, () => {
      mknodat(dir.fd, name, NodeType[type] | (entry.mode & 0o777), device)
    })
    setAttributes(dir.fd, name, entry, false)
    return true
  }
}

/** An archive does not tell the kernel's overlay what to do. */
function withoutOverlayAttributes(entry: Entry): Entry {
  if (entry.xattrs.size === 0) return entry
  const kept = [...entry.xattrs].filter(([key]) => !key.startsWith('user.overlay.'))
  return { ...entry, xattrs: new Map(kept) }
}

/** Node's error of a write does not say what was written. */
function withPath(err: unknown, path: string): unknown {
  if (!(err instanceof Error) || !('errno' in err) || typeof err.errno !== 'number') return err
  return systemError(-err.errno, 'write', { path })
}
