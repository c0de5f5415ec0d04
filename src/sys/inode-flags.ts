import { closeSync, openSync } from 'node:fs'

import { checked, native } from './libc.ts'

/** Flags of a file that chattr(1) sets; see FS_IOC_SETFLAGS in ioctl_iflags(2). */
export const InodeFlag = {
  /** Nobody may change, rename, link or delete the file. */
  immutable: 0x10,
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
