import { fchmodSync, fchownSync } from 'node:fs'

import { type Entry, TarError } from '#lib/tar/entry.ts'
import { isErrno } from '#sys/errno.ts'
import {
  AT_SYMLINK_NOFOLLOW,
  fchmodat,
  fchownat,
  futimens,
  type Times,
  utimensat,
} from '#sys/file.ts'
import { fsetxattr, lsetxattr } from '#sys/xattr.ts'

/** The last nanosecond that the kernel's times can say. */
const lastTime = 2n ** 63n - 1n

/** Gives an open file what its entry says. The mode comes after the owner, whose change clears setuid. @throws {SystemError} */
export function setFileAttributes(fd: number, entry: Entry): void {
  const { uid, gid } = ownerOf(entry)
  fchownSync(fd, uid, gid)
  for (const [key, value] of entry.xattrs) {
    tolerate(key, entry, () => fsetxattr(fd, key, value))
  }
  fchmodSync(fd, entry.mode)
  futimens(fd, timesOf(entry))
}

/** Gives `name`, just made, what its entry says. @throws {SystemError} */
export function setAttributes(dir: number, name: string, entry: Entry, isLink: boolean): void {
  setAllButTimes(dir, name, entry, isLink)
  utimensat(dir, name, timesOf(entry), AT_SYMLINK_NOFOLLOW)
}

/** Like `setAttributes`; times of directories are for the end. @throws {SystemError} */
export function setAllButTimes(dir: number, name: string, entry: Entry, isLink: boolean): void {
  const { uid, gid } = ownerOf(entry)
  fchownat(dir, name, uid, gid, AT_SYMLINK_NOFOLLOW)
  for (const [key, value] of entry.xattrs) {
    tolerate(key, entry, () => lsetxattr(`/proc/self/fd/${dir}/${name}`, key, value))
  }
  // Links have no mode; what has come in the place of the file meanwhile is not followed.
  if (!isLink) fchmodat(dir, name, entry.mode, AT_SYMLINK_NOFOLLOW)
}

/** Who owns a file. */
export interface Owner {
  readonly uid: number
  readonly gid: number
}

/**
 * The owner of an entry as the kernel takes it: ids have 32 bits, and one below zero stands for the
 * one with the same bits. One with more bits is refused: cut off it would be somebody else's.
 *
 * @throws {TarError}
 */
export function ownerOf(entry: Pick<Entry, 'name' | 'uid' | 'gid'>): Owner {
  const id = (kind: 'uid' | 'gid'): number => {
    const value = entry[kind]
    if (value >= -(2 ** 31) && value < 2 ** 32) return value >>> 0
    throw new TarError(`${kind} ${value} of ${JSON.stringify(entry.name)} is out of range`)
  }
  return { uid: id('uid'), gid: id('gid') }
}

/** The times to set: access is no older than modification, and what the kernel cannot say is 1970. */
export function timesOf(entry: Pick<Entry, 'atime' | 'mtime'>): Times {
  const { mtime, atime = mtime } = entry
  return { atime: bounded(atime > mtime ? atime : mtime), mtime: bounded(mtime) }
}

const bounded = (time: bigint): bigint => (time < 0n || time > lastTime ? 0n : time)

/**
 * Attributes that the file system does not have are left out, and so are those that an archive must
 * not set. The `user.` ones exist only on files and directories.
 */
function tolerate(key: string, entry: Entry, set: () => void): void {
  if (key.startsWith('trusted.')) return
  const plain = entry.type === 'file' || entry.type === 'directory'
  try {
    set()
  } catch (err) {
    if (isErrno(err, 'ENOTSUP')) return
    if (isErrno(err, 'EPERM') && key.startsWith('user.') && !plain) return
    throw err
  }
}
