import { background } from './libc.ts'

const fallocate = background('int fallocate(int fd, int mode, int64 offset, int64 length)')

/**
 * Gives an open file blocks for its first `bytes` bytes, holes included, and makes it at least that
 * long, beside the event loop: writes there do not fail on a full disk, unless the file system never
 * writes to the same place twice.
 *
 * @throws {SystemError} `ENOSPC`; `ENOTSUP` where a file system can't.
 */
export async function allocate(fd: number, bytes: number): Promise<void> {
  await fallocate('fallocate', fd, 0, 0, bytes)
}
