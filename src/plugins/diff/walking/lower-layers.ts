import { closeSync, constants } from 'node:fs'

import { failedPrecondition } from '#lib/errors/errors.ts'
import { isErrno } from '#sys/errno.ts'
import { AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, fchmodat, fchownat, utimensat } from '#sys/file.ts'
import { openat2, Resolve } from '#sys/openat2.ts'
import { O_PATH, openRoot } from '#sys/resolve.ts'
import { fstatat } from '#sys/stat.ts'
import { getxattr, listxattr, lsetxattr } from '#sys/xattr.ts'

import type { Mounted } from './mounted.ts'
import { namesIn } from '#sys/tree.ts'

/** How a layer goes on top of others when it is unpacked beside them, not through a mount of all. */
export interface Overlay {
  /** The directories of the layers below, nearest first. Empty when they are not known, or not there yet. */
  readonly lowers: readonly string[]
  /** As the mount option: the kernel's attributes begin with `user.` instead of `trusted.`. */
  readonly userxattr: boolean
  /** Mounts the layer with what is below; only if that is known. */
  readonly mount?: (() => Mounted) | undefined
  /** What is below will be put there later: to need it is an error. */
  readonly alone?: boolean | undefined
  /** Then directories that the archive leaves out are not needed, but noted here by their paths. */
  readonly left?: Set<string> | undefined
}

/** How many directories may be settled later. */
const mostLeft = 100_000

/**
 * The layers below the one being unpacked, nearest first, when it is unpacked beside them and not
 * through a mount of all of them.
 *
 * One that is unpacked alone, before they are there, must not need them: `failed_precondition` says
 * that it has to be unpacked again on top of them.
 */
export class LowerLayers implements Disposable {
  readonly #overlay: Overlay | undefined
  #fds: readonly number[] | undefined

  constructor(overlay: Overlay | undefined) {
    this.#overlay = overlay
  }

  /** Whether they are elsewhere, so that what is deleted has to be marked. */
  get separate(): boolean {
    return this.#overlay !== undefined
  }

  /**
   * Gives the new directory `name` in `dir` what the layers below know of `path`: owner, mode, times
   * and attributes. Without that a directory that the archive leaves out would hide them.
   *
   * @throws {SystemError}; `failed_precondition`.
   */
  copyAttributes(path: string, dir: number, name: string): void {
    const left = this.#overlay?.left
    if (left && left.size < mostLeft) return void left.add(path)
    this.#need(`the directory "${path}"`)
    for (const lower of this.#open()) {
      const fd = openBelow(lower, path)
      if (fd === undefined) continue
      try {
        copyFrom(fd, dir, name)
      } finally {
        closeSync(fd)
      }
      return
    }
  }

  /** The names in their roots. @throws {SystemError}; `failed_precondition`. */
  rootNames(): ReadonlySet<string> {
    this.#need('all that is in "/"')
    return new Set(this.#open().flatMap(namesIn))
  }

  /**
   * Mounts all layers with the new one on top; `undefined` when that is what is unpacked to, or they
   * are not known. `wanted` says what for.
   *
   * @throws {SystemError}; `failed_precondition`.
   */
  mounted(wanted: string): Mounted | undefined {
    this.#need(wanted)
    return this.#overlay?.mount?.()
  }

  [Symbol.dispose](): void {
    for (const fd of this.#fds ?? []) closeSync(fd)
    this.#fds = []
  }

  #need(what: string): void {
    if (!this.#overlay?.alone) return
    throw failedPrecondition(`layer cannot be unpacked alone: it needs ${what} of a layer below`)
  }

  #open(): readonly number[] {
    this.#fds ??= this.#overlay?.lowers.map(openRoot) ?? []
    return this.#fds
  }
}

function openBelow(lower: number, path: string): number | undefined {
  try {
    return openat2(lower, path, { flags: O_PATH, resolve: Resolve.inRoot })
  } catch (err) {
    if (isErrno(err, 'ENOENT', 'ENOTDIR')) return undefined
    throw err
  }
}

function copyFrom(fd: number, dir: number, name: string): void {
  const stat = fstatat(fd, '', AT_EMPTY_PATH)
  // Something else was there, a whiteout perhaps: the directory is new.
  if ((stat.mode & constants.S_IFMT) !== constants.S_IFDIR) return
  fchownat(dir, name, stat.uid, stat.gid, AT_SYMLINK_NOFOLLOW)
  fchmodat(dir, name, stat.mode & 0o7777, AT_SYMLINK_NOFOLLOW)
  copyXattrs(`/proc/self/fd/${fd}`, `/proc/self/fd/${dir}/${name}`)
  utimensat(dir, name, stat, AT_SYMLINK_NOFOLLOW)
}

function copyXattrs(from: string, to: string): void {
  try {
    for (const key of listxattr(from)) {
      if (key.startsWith('trusted.')) continue
      const value = getxattr(from, key)
      if (value) lsetxattr(to, key, value)
    }
  } catch (err) {
    if (!isErrno(err, 'ENOTSUP')) throw err
  }
}
