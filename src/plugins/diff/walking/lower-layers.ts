import { closeSync, constants } from 'node:fs'

import { isErrno } from '#sys/errno.ts'
import { AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, fchmodat, fchownat, utimensat } from '#sys/file.ts'
import { openat2, Resolve } from '#sys/openat2.ts'
import { O_PATH, openRoot } from '#sys/resolve.ts'
import { fstatat } from '#sys/stat.ts'
import { getxattr, listxattr, lsetxattr } from '#sys/xattr.ts'

/**
 * The layers below the one being unpacked, nearest first, when it is unpacked beside them and not
 * through a mount of all of them.
 */
export class LowerLayers implements Disposable {
  readonly #paths: readonly string[]
  #fds: readonly number[] | undefined

  constructor(paths: readonly string[]) {
    this.#paths = paths
  }

  /**
   * Gives the new directory `name` in `dir` what the layers below know of `path`: owner, mode, times
   * and attributes. Without that a directory that the archive leaves out would hide them.
   *
   * @throws {SystemError}
   */
  copyAttributes(path: string, dir: number, name: string): void {
    this.#fds ??= this.#paths.map(openRoot)
    for (const lower of this.#fds) {
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

  [Symbol.dispose](): void {
    for (const fd of this.#fds ?? []) closeSync(fd)
    this.#fds = []
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
  fchmodat(dir, name, stat.mode & 0o7777)
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
