import { addressOf, lastErrno, native } from './libc.ts'
import { systemError } from './errno.ts'

/** struct iovec { void *base; size_t length }, reused: calls are synchronous. */
const iovec = new BigUint64Array(2)
const preadv2: (...args: [number, BigUint64Array, number, number, number]) => number = native(
  'long preadv2(int fd, const void *iov, int count, int64 offset, int flags)',
)

/** Do not wait for the disk. */
const RWF_NOWAIT = 8
const EAGAIN = 11
const EOPNOTSUPP = 95
const EINTR = 4

/**
 * Fills `buffer` from `offset` of an open file, as far as that is in memory: a copy, and no wait for a
 * disk. @returns how much came; undefined when nothing is in memory, or the file system cannot tell.
 * @throws {SystemError}
 */
export function readNow(fd: number, buffer: Uint8Array, offset: number): number | undefined {
  iovec[0] = addressOf(buffer)
  iovec[1] = BigInt(buffer.length)
  const read = preadv2(fd, iovec, 1, offset, RWF_NOWAIT)
  if (read >= 0) return read
  const errno = lastErrno()
  if (errno === EAGAIN || errno === EOPNOTSUPP || errno === EINTR) return undefined
  throw systemError(errno, 'preadv2')
}
