import { closeSync, openSync, readFileSync, readlinkSync } from 'node:fs'
import { basename } from 'node:path'

import { isErrno } from './errno.ts'
import { AT_FDCWD } from './file.ts'
import { checked, native } from './libc.ts'
import { fstatat } from './stat.ts'

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
 * Has the file system give each directory that is made in `path` a place of its own (`T` of
 * chattr(1)), where that helps: on ext4 without a journal, as small virtual machines often have it.
 * There an inode is not used again for minutes after it was deleted, and whoever makes a file passes
 * all of them in its group, one by one: the files of a tree take five times as long where one as large
 * was removed before. Elsewhere directories stay together, which is less to write.
 *
 * @throws {SystemError} but not where it is not for this process to set.
 */
export function spreadDirectories(path: string): void {
  if (!isWithoutJournal(path)) return
  try {
    setInodeFlag(path, InodeFlag.topDirectory, true)
  } catch (err) {
    if (!isErrno(err, 'ENOTTY', 'ENOTSUP', 'EPERM')) throw err
  }
}

/** Whether the file system at `path` is an ext4 that says it has no journal. @throws {SystemError} */
function isWithoutJournal(path: string): boolean {
  const { major, minor } = fstatat(AT_FDCWD, path, 0).dev
  try {
    const device = basename(readlinkSync(`/sys/dev/block/${major}:${minor}`))
    return readFileSync(`/sys/fs/ext4/${device}/journal_task`, 'utf8').trim() === '<none>'
  } catch (err) {
    // It has no device, or is no ext4.
    if (isErrno(err, 'ENOENT')) return false
    throw err
  }
}
