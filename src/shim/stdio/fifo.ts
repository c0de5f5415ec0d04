import {
  closeSync,
  constants,
  fchownSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
} from 'node:fs'
import { dirname, join } from 'node:path'

import { pipe } from '#sys/fifo.ts'

import type { StreamOwner } from './stdio.ts'

const { O_RDONLY, O_WRONLY, O_RDWR, O_NONBLOCK, O_APPEND, O_CREAT } = constants

/** A stream of a process: the end that is used, and the end that is kept while it runs. */
export interface Stream {
  readonly fd: number
  /** Keeps the FIFO from breaking when the client is away. Absent for files and devices. */
  readonly keep?: number | undefined
}

/**
 * Whether using `fd` may block: a process wants that, and the open file shares its flags with the
 * process; this program itself does not.
 */
export interface OpenStreamOptions {
  readonly nonblock?: boolean
}

/**
 * Opens where a process writes. With the kept reader a client that is not there means waiting, not
 * SIGPIPE.
 *
 * @throws {SystemError}
 */
export function openOutput(path: string, options: OpenStreamOptions = {}): Stream {
  if (path === '') return { fd: openSync('/dev/null', O_WRONLY) }
  const held = openSync(path, O_RDWR | O_NONBLOCK)
  try {
    if (!fstatSync(held).isFIFO()) return { fd: reopen(held, O_WRONLY | O_APPEND) }
    return openBoth(held, O_RDONLY, O_WRONLY | flag(options))
  } finally {
    closeSync(held)
  }
}

/** An unnamed pipe whose ends are closed with the stacks. @throws {SystemError} */
export function openPipe(
  readers: DisposableStack,
  writers: DisposableStack,
): ReturnType<typeof pipe> {
  const ends = pipe()
  readers.defer(() => closeSync(ends.read))
  writers.defer(() => closeSync(ends.write))
  return ends
}

/**
 * A pipe whose writing end can be read from, too: it does not break while its writer lives, whatever
 * becomes of the reader. The reader still sees the end of it when the last writer is gone.
 *
 * @throws {SystemError}
 */
export function openLastingPipe(
  readers: DisposableStack,
  writers: DisposableStack,
): ReturnType<typeof pipe> {
  using plain = new DisposableStack()
  const { read, write } = openPipe(readers, plain)
  const lasting = reopen(write, O_RDWR)
  writers.defer(() => closeSync(lasting))
  return { read, write: lasting }
}

/** What /proc calls the pipe behind `fd`: `pipe:[1234]`. */
export const pipeName = (fd: number): string => readlinkSync(`/proc/self/fd/${fd}`)

/**
 * Opens the reading end of a pipe that some process has open, most likely `pid`; nothing when none
 * has.
 */
export function reopenPipe(name: string, pid: number): number | undefined {
  const others = (): string[] => readdirSync('/proc').filter((each) => /^\d+$/.test(each))
  const path = pathOfPipe(name, String(pid)) ?? firstOf(others(), (each) => pathOfPipe(name, each))
  return path === undefined ? undefined : openSync(path, O_RDONLY | O_NONBLOCK)
}

function pathOfPipe(name: string, pid: string): string | undefined {
  const dir = `/proc/${pid}/fd`
  try {
    return readdirSync(dir)
      .map((fd) => join(dir, fd))
      .find((path) => linkOf(path) === name)
  } catch {
    // It has ended.
    return undefined
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    // Closed meanwhile.
    return undefined
  }
}

function firstOf<T, R>(values: readonly T[], find: (value: T) => R | undefined): R | undefined {
  for (const value of values) {
    const found = find(value)
    if (found !== undefined) return found
  }
  return undefined
}

/** Opens where a process reads. With the kept writer clients may come and go. @throws {SystemError} */
export function openInput(path: string, options: OpenStreamOptions = {}): Stream {
  if (path === '') return { fd: openSync('/dev/null', O_RDONLY) }
  const held = openSync(path, O_RDWR | O_NONBLOCK)
  try {
    if (!fstatSync(held).isFIFO()) return { fd: reopen(held, O_RDONLY) }
    return openBoth(held, O_WRONLY, O_RDONLY | flag(options))
  } finally {
    closeSync(held)
  }
}

/** Opens a log file to append to, making it and its directory. @throws {SystemError} */
export function openLogFile(path: string): Stream {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
  return { fd: openSync(path, O_WRONLY | O_APPEND | O_CREAT, 0o644) }
}

/** Makes `owner` own the pipe behind `fd`. @throws {SystemError} */
export function giveTo({ uid, gid }: StreamOwner, fd: number): void {
  if (uid !== 0 || gid !== 0) fchownSync(fd, uid, gid)
}

/** `held` has both directions, so neither opening waits for another end. */
function openBoth(held: number, kept: number, used: number): Stream {
  const keep = reopen(held, kept | O_NONBLOCK)
  try {
    return { fd: reopen(held, used), keep }
  } catch (err) {
    closeSync(keep)
    throw err
  }
}

const flag = ({ nonblock }: OpenStreamOptions): number => (nonblock ? O_NONBLOCK : 0)

const reopen = (fd: number, flags: number): number => openSync(`/proc/self/fd/${fd}`, flags)
