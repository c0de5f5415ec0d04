import { fchmodSync, fchownSync } from 'node:fs'

import type { Entry } from '#lib/tar/entry.ts'
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
  fchownSync(fd, entry.uid, entry.gid)
  for (const [key, value] of entry.xattrs) {
    tolerate(key, entry, () => fsetxattr(fd, key, value))
  }
  fchmodSync(fd, entry.mode)
  futimens(fd, timesOf(entry))
}

/** Gives `name`, just made, what its entry says; times of directories are for the end. @throws {SystemError} */
export function setAttributes(dir: number, name: string, entry: Entry, isLink: boolean): void {
  fchownat(dir, name, entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW)
  for (const [key, value] of entry.xattrs) {
    tolerate(key, entry, () => lsetxattr(`/proc/self/fd/${dir}/${name}`, key, value))
  }
  // It would follow a link, and links have no mode.
  if (!isLink) fchmodat(dir, name, entry.mode)
  utimensat(dir, name, timesOf(entry), AT_SYMLINK_NOFOLLOW)
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
