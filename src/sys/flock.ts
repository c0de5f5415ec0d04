import { lastErrno, native, uninterrupted } from './libc.ts'
import { systemError } from './errno.ts'

const flock: (...args: [number, number]) => number = native('int flock(int fd, int operation)')

const LOCK_SH = 1
const LOCK_EX = 2
const LOCK_NB = 4
const LOCK_UN = 8
const EINTR = 4
const EWOULDBLOCK = 11

/** Takes an advisory lock on an open file, shared or exclusive, if it is free now. @throws {SystemError} */
export function tryLock(fd: number, exclusive: boolean): boolean {
  for (;;) {
    if (flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) >= 0) return true
    const errno = lastErrno()
    if (errno === EWOULDBLOCK) return false
    if (errno !== EINTR) throw systemError(errno, 'flock')
  }
}

/** Gives the lock back; closing the file does so too. @throws {SystemError} */
export function unlock(fd: number): void {
  uninterrupted(() => flock(fd, LOCK_UN), 'flock')
}
