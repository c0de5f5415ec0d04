import { open } from 'node:fs/promises'

import { background, checked, cString, native, uninterrupted } from './libc.ts'

/** Stands for the working directory in every `dir` argument. */
export const AT_FDCWD = -100
/** Work on a symbolic link itself. */
export const AT_SYMLINK_NOFOLLOW = 0x100
export const AT_REMOVEDIR = 0x200
/** An empty path means the descriptor itself. */
export const AT_EMPTY_PATH = 0x1000

/** Leave the time as it is, in place of nanoseconds. */
export const UTIME_OMIT = -1n

type Text = string | Uint8Array
type Fd = number

const cMkdirat: (...args: [Fd, Text, number]) => number = native(
  'int mkdirat(int dir, const char *path, uint mode)',
)
const cUnlinkat: (...args: [Fd, Text, number]) => number = native(
  'int unlinkat(int dir, const char *path, int flags)',
)
const cLinkat: (...args: [Fd, Text, Fd, Text, number]) => number = native(
  'int linkat(int dir, const char *path, int newDir, const char *newPath, int flags)',
)
const cSymlinkat: (...args: [Text, Fd, Text]) => number = native(
  'int symlinkat(const char *target, int dir, const char *path)',
)
const cReadlinkat: (...args: [Fd, Text, Uint8Array, number]) => number = native(
  'long readlinkat(int dir, const char *path, void *buffer, size_t size)',
)
const cRenameat2: (...args: [Fd, Text, Fd, Text, number]) => number = native(
  'int renameat2(int dir, const char *path, int newDir, const char *newPath, uint flags)',
)
const cFchownat: (...args: [Fd, Text, number, number, number]) => number = native(
  'int fchownat(int dir, const char *path, uint uid, uint gid, int flags)',
)
const cFchmodat: (...args: [Fd, Text, number, number]) => number = native(
  'int fchmodat(int dir, const char *path, uint mode, int flags)',
)
const cUtimensat: (...args: [Fd, Text, BigInt64Array, number]) => number = native(
  'int utimensat(int dir, const char *path, const void *times, int flags)',
)
const cFutimens: (...args: [Fd, BigInt64Array]) => number = native(
  'int futimens(int fd, const void *times)',
)
const cSyncfs: (...args: [Fd]) => number = native('int syncfs(int fd)')
const syncfsBeside = background('int syncfs(int fd)')
const cUmask: (...args: [number]) => number = native('uint umask(uint mask)')

/** mkdirat(2). @throws {SystemError} `EEXIST` */
export function mkdirat(dir: Fd, path: string, mode: number): void {
  checked(cMkdirat(dir, cString(path), mode), 'mkdirat', { path })
}

/** unlinkat(2); `AT_REMOVEDIR` in `flags` for directories. @throws {SystemError} */
export function unlinkat(dir: Fd, path: string, flags = 0): void {
  checked(cUnlinkat(dir, cString(path), flags), 'unlinkat', { path })
}

/** linkat(2): a second name for a file; a symbolic link is not followed. @throws {SystemError} */
export function linkat(dir: Fd, path: string, newDir: Fd, newPath: string): void {
  const result = cLinkat(dir, cString(path), newDir, cString(newPath), 0)
  checked(result, 'linkat', { path, dest: newPath })
}

/** symlinkat(2). @throws {SystemError} */
export function symlinkat(target: string, dir: Fd, path: string): void {
  const result = cSymlinkat(cString(target), dir, cString(path))
  checked(result, 'symlinkat', { path: target, dest: path })
}

/** The bytes of a symbolic link's target. @throws {SystemError} `EINVAL` when it is none. */
export function readlinkat(dir: Fd, path: string): Uint8Array {
  const buffer = Buffer.alloc(4096)
  const length = checked(cReadlinkat(dir, cString(path), buffer, buffer.length), 'readlinkat', {
    path,
  })
  return buffer.subarray(0, length)
}

/** How renameat2(2) treats a target that exists. */
export const Rename = { noReplace: 1, exchange: 2, whiteout: 4 } as const

/** renameat2(2). @throws {SystemError} */
export function renameat2(dir: Fd, path: string, newDir: Fd, newPath: string, flags = 0): void {
  const result = cRenameat2(dir, cString(path), newDir, cString(newPath), flags)
  checked(result, 'renameat2', { path, dest: newPath })
}

/** fchownat(2). @throws {SystemError} */
export function fchownat(dir: Fd, path: string, uid: number, gid: number, flags = 0): void {
  checked(cFchownat(dir, cString(path), uid, gid, flags), 'fchownat', { path })
}

/**
 * fchmodat(2): it follows symbolic links, which have no mode; with `AT_SYMLINK_NOFOLLOW` it refuses them.
 *
 * @throws {SystemError} `ENOTSUP` for a link.
 */
export function fchmodat(dir: Fd, path: string, mode: number, flags = 0): void {
  checked(cFchmodat(dir, cString(path), mode, flags), 'fchmodat', { path })
}

const billion = 1_000_000_000n
const utimeOmit = (1n << 30n) - 2n
/** struct timespec { i64 seconds, nanoseconds } twice, reused: calls are synchronous. */
const times = new BigInt64Array(4)

/** Access and modification time in nanoseconds since the epoch, or `UTIME_OMIT`. */
export interface Times {
  readonly atime: bigint
  readonly mtime: bigint
}

/** utimensat(2), to the nanosecond. @throws {SystemError} */
export function utimensat(dir: Fd, path: string, at: Times, flags = 0): void {
  setTimespec(0, at.atime)
  setTimespec(2, at.mtime)
  checked(cUtimensat(dir, cString(path), times, flags), 'utimensat', { path })
}

/** Sets the times of an open file. @throws {SystemError} */
export function futimens(fd: Fd, at: Times): void {
  setTimespec(0, at.atime)
  setTimespec(2, at.mtime)
  checked(cFutimens(fd, times), 'futimens')
}

function setTimespec(index: number, ns: bigint): void {
  if (ns === UTIME_OMIT) {
    times[index] = 0n
    times[index + 1] = utimeOmit
    return
  }
  // Nanoseconds count upwards also before the epoch.
  const rest = ((ns % billion) + billion) % billion
  times[index] = (ns - rest) / billion
  times[index + 1] = rest
}

/** Writes the whole file system of `fd` to disk; it takes as long as the disk does. @throws {SystemError} */
export function syncfs(fd: Fd): void {
  uninterrupted(() => cSyncfs(fd), 'syncfs')
}

/**
 * Writes the whole file system that `path` is on to disk, beside the event loop. Nothing to write
 * takes nothing but the flush of the disk's own cache.
 *
 * @throws {SystemError}
 */
export async function syncFileSystem(path: string): Promise<void> {
  await using file = await open(path)
  await syncfsLater(file.fd)
}

/** `syncfs` beside the event loop; `fd` stays open until then. @throws {SystemError} */
export async function syncfsLater(fd: Fd): Promise<void> {
  await syncfsBeside('syncfs', fd)
}

/** Sets the mask of new files' modes for the whole process and gives the one before. */
export function umask(mask: number): number {
  return cUmask(mask)
}
