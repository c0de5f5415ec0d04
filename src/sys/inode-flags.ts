import { closeSync, openSync } from 'node:fs'

import { isErrno } from './errno.ts'
import { checked, native } from './libc.ts'

/** Flags of a file that chattr(1) sets; see FS_IOC_SETFLAGS in ioctl_iflags(2). */
export const InodeFlag = {
  /** Nobody may change, rename, link or delete the file. */
  immutable: 0x10,
  /** Directories in this one have nothing to do with each other. */
  topDirectory: 0x20000,
} as const

const ioctl: (...args: [number, number, Int32Array]) => number = native(
  'int ioctl(int fd, ulong request, void *value)',
)

/** `_IOR('f', 1, long)` and `_IOW('f', 2, long)` of machines whose long has 64 bits; the value is an int. */
const FS_IOC_GETFLAGS = 0x80086601
const FS_IOC_SETFLAGS = 0x40086602

/**
 * Sets or clears `flag` of the file at `path`.
 *
 * @throws {SystemError} `ENOTTY` or `EOPNOTSUPP` where the file system has no such flags, `EPERM`.
 */
export function setInodeFlag(path: string, flag: number, on: boolean): void {
  const fd = openSync(path, 'r')
  try {
    const value = new Int32Array(2)
    checked(ioctl(fd, FS_IOC_GETFLAGS, value), 'ioctl', { path })
    const [flags = 0] = value
    const changed = on ? flags | flag : flags & ~flag
    if (changed === flags) return
    value[0] = changed
    checked(ioctl(fd, FS_IOC_SETFLAGS, value), 'ioctl', { path })
  } finally {
    closeSync(fd)
  }
}

/**
 * Has the file system give each directory that is made in `path` a place of its own, where it has a
 * say in that (`T` of chattr(1)). ext4 would put all of them, with their files, into the same few
 * groups of inodes, and whoever makes files where as many were deleted a short time ago looks at each
 * of those for each of his: for minutes after a large tree is removed, the next is made at a third of
 * the speed.
 *
 * @throws {SystemError} but not where there is no such flag, or where it is not for this process to set.
 */
export function spreadDirectories(path: string): void {
  try {
    setInodeFlag(path, InodeFlag.topDirectory, true)
  } catch (err) {
    if (!isErrno(err, 'ENOTTY', 'ENOTSUP', 'EINVAL', 'EPERM')) throw err
  }
}
