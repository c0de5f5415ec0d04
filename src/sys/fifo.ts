import { closeSync, constants, openSync } from 'node:fs'

import { checked, native } from './libc.ts'

const fcntl: (...args: [number, number, number]) => number = native(
  'int fcntl(int fd, int command, long argument)',
)
const cPipe2: (...args: [Int32Array, number]) => number = native('int pipe2(void *fds, int flags)')

const F_GETFD = 1
const F_SETFD = 2
const F_GETFL = 3
const F_SETFL = 4
const FD_CLOEXEC = 1
const O_CLOEXEC = 0o2000000

const access = {
  read: constants.O_RDONLY,
  write: constants.O_WRONLY,
  readwrite: constants.O_RDWR,
} as const

export interface OpenFifoOptions {
  /** Whether reads and writes on the descriptor return at once; opening always does. */
  readonly nonblock: boolean
}

/**
 * Opens a named pipe without waiting for its other end.
 *
 * @throws {SystemError} `ENXIO` for 'write' when nobody reads, which 'readwrite' never meets.
 */
export function openFifo(
  path: string,
  mode: keyof typeof access,
  options: OpenFifoOptions,
): number {
  const fd = openSync(path, access[mode] | constants.O_NONBLOCK)
  try {
    if (!options.nonblock) setNonblock(fd, false)
    return fd
  } catch (err) {
    closeSync(fd)
    throw err
  }
}

/** An unnamed pipe; both ends block and are closed on exec. @throws {SystemError} */
export function pipe(): { readonly read: number; readonly write: number } {
  const fds = new Int32Array(2)
  checked(cPipe2(fds, O_CLOEXEC), 'pipe2')
  const [read = -1, write = -1] = fds
  return { read, write }
}

/** Sets or clears O_NONBLOCK, for everybody who shares the open file. @throws {SystemError} */
export function setNonblock(fd: number, on: boolean): void {
  const flags = checked(fcntl(fd, F_GETFL, 0), 'fcntl')
  const next = on ? flags | constants.O_NONBLOCK : flags & ~constants.O_NONBLOCK
  if (next !== flags) checked(fcntl(fd, F_SETFL, next), 'fcntl')
}

/** Whether the descriptor closes when this process executes another program. @throws {SystemError} */
export function setCloexec(fd: number, on: boolean): void {
  const flags = checked(fcntl(fd, F_GETFD, 0), 'fcntl')
  checked(fcntl(fd, F_SETFD, on ? flags | FD_CLOEXEC : flags & ~FD_CLOEXEC), 'fcntl')
}
