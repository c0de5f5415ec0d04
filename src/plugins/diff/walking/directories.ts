import { closeSync, constants, readlinkSync } from 'node:fs'
import { posix } from 'node:path'

import { fromBytes } from '#lib/bytes/byte-string.ts'
import { isErrno } from '#sys/errno.ts'
import { AT_SYMLINK_NOFOLLOW, fchmodat, mkdirat, readlinkat } from '#sys/file.ts'
import { openat2, Resolve } from '#sys/openat2.ts'
import { O_PATH, openRoot } from '#sys/resolve.ts'

import type { LowerLayers } from './lower-layers.ts'

/** An open directory of the tree being unpacked. */
export interface Directory {
  /** For the `*at` functions. Valid until the next directory is asked for. */
  readonly fd: number
  /** Where it really is below the root, without links; empty for the root. */
  readonly path: string
}

/** Directories that stay open: archives come directory by directory. */
const maxOpen = 64
/** As many links as the kernel follows. */
const maxLinks = 40
const directoryFlags = O_PATH | constants.O_DIRECTORY

/**
 * Finds and makes the directories of one tree. The kernel resolves every path with the tree as its
 * root (`RESOLVE_IN_ROOT`), so whatever links a layer brings, nothing outside can be reached.
 */
export class Directories implements Disposable {
  readonly #root: Directory
  readonly #rootPath: string
  readonly #lowers: LowerLayers
  readonly #onMade: (path: string) => void
  readonly #open = new Map<string, Directory>()
  #stale = false

  /** `onMade` is told of every directory that had to be made for what is in it. @throws {SystemError} */
  constructor(root: string, lowers: LowerLayers, onMade: (path: string) => void) {
    this.#root = { fd: openRoot(root), path: '' }
    this.#rootPath = realPath(this.#root.fd)
    this.#lowers = lowers
    this.#onMade = onMade
  }

  get root(): Directory {
    return this.#root
  }

  /** The directory at `path`, a clean path below the root; made, with its parents, when missing. @throws {SystemError} */
  make(path: string): Directory {
    this.#closeStale()
    return this.#find(path) ?? this.#create(path, 0)
  }

  /** The directory at `path`, `undefined` when missing. @throws {SystemError} `ENOTDIR` for what is none. */
  find(path: string): Directory | undefined {
    this.#closeStale()
    return this.#find(path)
  }

  /**
   * Must be called when a directory or a link was removed: what is known may lead elsewhere now.
   * Directories in use stay open until the next is asked for.
   */
  forget(): void {
    this.#stale = true
  }

  #closeStale(): void {
    if (!this.#stale) return
    for (const { fd } of this.#open.values()) closeSync(fd)
    this.#open.clear()
    this.#stale = false
  }

  [Symbol.dispose](): void {
    this.forget()
    this.#closeStale()
    closeSync(this.#root.fd)
  }

  #find(path: string): Directory | undefined {
    if (path === '') return this.#root
    const known = this.#open.get(path)
    if (known) {
      this.#open.delete(path)
      this.#open.set(path, known)
      return known
    }
    try {
      const child = this.#findChild(path)
      if (child) return child
      const fd = openat2(this.#root.fd, path, { flags: directoryFlags, resolve: Resolve.inRoot })
      return this.#keep(path, fd)
    } catch (err) {
      if (isErrno(err, 'ENOENT')) return undefined
      throw err
    }
  }

  /** A directory in one that is open, if it is not behind a link: where it is needs no asking. */
  #findChild(path: string): Directory | undefined {
    const parentPath = dirname(path)
    const parent = parentPath === '' ? this.#root : this.#open.get(parentPath)
    if (!parent) return undefined
    try {
      return this.#openChild(path, parent, posix.basename(path))
    } catch (err) {
      if (isErrno(err, 'ELOOP', 'ENOTDIR')) return undefined
      throw err
    }
  }

  /** @throws {SystemError} `ELOOP` or `ENOTDIR` for a link. */
  #openChild(path: string, parent: Directory, name: string): Directory {
    const resolve = Resolve.beneath | Resolve.noSymlinks
    const fd = openat2(parent.fd, name, { flags: directoryFlags, resolve })
    return this.#add(path, { fd, path: childPath(parent, name) })
  }

  /** Owns `fd` from here on. */
  #keep(path: string, fd: number): Directory {
    using undo = new DisposableStack()
    undo.defer(() => closeSync(fd))
    const directory = { fd, path: this.#below(fd) }
    undo.move()
    return this.#add(path, directory)
  }

  #add(path: string, directory: Directory): Directory {
    this.#open.set(path, directory)
    if (this.#open.size > maxOpen) {
      for (const [oldest, { fd: oldFd }] of this.#open) {
        closeSync(oldFd)
        this.#open.delete(oldest)
        break
      }
    }
    return directory
  }

  #below(fd: number): string {
    const path = realPath(fd)
    return this.#rootPath === '/' ? path.slice(1) : path.slice(this.#rootPath.length + 1)
  }

  #create(path: string, links: number): Directory {
    const parentPath = dirname(path)
    const parent = this.#find(parentPath) ?? this.#create(parentPath, links)
    const name = posix.basename(path)
    const target = linkTarget(parent, name)
    if (target !== undefined) return this.#behindLink(parent, target, links)

    mkdirat(parent.fd, name, 0o755)
    // Whatever the mask of this process.
    fchmodat(parent.fd, name, 0o755, AT_SYMLINK_NOFOLLOW)
    const made = childPath(parent, name)
    this.#lowers.copyAttributes(made, parent.fd, name)
    this.#onMade(made)
    return this.#openChild(path, parent, name)
  }

  /** A link to nothing: what it names is made, inside the root. */
  #behindLink(parent: Directory, target: string, links: number): Directory {
    if (links >= maxLinks) throw new Error(`too many links at "${parent.path}"`)
    const path = cleanPath(target.startsWith('/') ? target : `${parent.path}/${target}`)
    return this.#find(path) ?? this.#create(path, links + 1)
  }
}

/** `path` as it is below a root that `..` cannot leave: no dots, no slash at either end. */
export function cleanPath(path: string): string {
  const clean = posix.normalize(`/${path}`)
  return clean.endsWith('/') ? clean.slice(1, -1) : clean.slice(1)
}

/** The path of the directory that a clean path is in. */
export const dirname = (path: string): string => path.slice(0, Math.max(path.lastIndexOf('/'), 0))

const childPath = ({ path }: Directory, name: string): string =>
  path === '' ? name : `${path}/${name}`

const realPath = (fd: number): string =>
  fromBytes(readlinkSync(`/proc/self/fd/${fd}`, { encoding: 'buffer' }))

function linkTarget(parent: Directory, name: string): string | undefined {
  try {
    return fromBytes(readlinkat(parent.fd, name))
  } catch (err) {
    if (isErrno(err, 'ENOENT', 'EINVAL')) return undefined
    throw err
  }
}
