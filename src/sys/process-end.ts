import { closeSync, readFileSync } from 'node:fs'

import { native } from './libc.ts'
import { exitStatus, pidfdOpen } from './process.ts'

/*
 * The end of a process that is nobody's child here. Two structures of the kernel are used:
 *
 *     struct pollfd       fd i32, events i16, revents i16
 *     struct pidfd_info   mask u64, cgroupid u64, pid, tgid, ppid, eight ids u32, exit_code i32
 *
 * Source: poll(2), and linux/pidfd.h since Linux 6.15 as to `PIDFD_INFO_EXIT`.
 */

const cPoll: (...args: [Uint8Array, number, number]) => number = native(
  'int poll(void *fds, ulong count, int timeout)',
)
const cIoctl: (...args: [number, number, Uint8Array]) => number = native(
  'int ioctl(int fd, ulong request, void *value)',
)

const POLLIN = 1
const pollfdBytes = 8

const PIDFD_GET_INFO = 0xc040ff0b
const PIDFD_INFO_EXIT = 8n
const [infoBytes, exitCodeAt] = [64, 60] as const

/** Where `/proc/<pid>/stat` has the start of a process, and the wait status of a zombie. */
const [startField, exitField] = [22, 52] as const

/** Which process a pid means: another one that gets the same number has started at another time. */
export interface ProcessIdentity {
  readonly pid: number
  /** In ticks since the start of the machine. */
  readonly startedAt: number
}

/** `undefined` when there is no such process, or only its zombie. */
export function identify(pid: number): ProcessIdentity | undefined {
  const fields = statOf(pid)
  if (fields === undefined || fields.at(0) === 'Z' || fields.at(0) === 'X') return undefined
  return { pid, startedAt: Number(fields[startField - 3]) }
}

/** Whether this very process lives. */
export const lives = ({ pid, startedAt }: ProcessIdentity): boolean =>
  identify(pid)?.startedAt === startedAt

/** A process whose end is looked for, until disposed. */
export class WatchedProcess implements Disposable {
  readonly pid: number
  readonly fd: number

  /** @throws {SystemError} `ESRCH` when there is no such process. */
  constructor(pid: number) {
    this.pid = pid
    this.fd = pidfdOpen(pid)
  }

  /**
   * How it ended, if it has and the kernel tells: before Linux 6.15 it does only as long as nobody
   * has reaped the process. The exit code, or 128 and the number of the signal.
   */
  get status(): number | undefined {
    const info = Buffer.alloc(infoBytes)
    info.writeBigUInt64LE(PIDFD_INFO_EXIT, 0)
    const told = cIoctl(this.fd, PIDFD_GET_INFO, info) === 0
    if (told && (info.readBigUInt64LE(0) & PIDFD_INFO_EXIT) !== 0n) {
      return exitStatus(info.readInt32LE(exitCodeAt))
    }
    const fields = statOf(this.pid)
    return fields?.at(0) === 'Z' ? exitStatus(Number(fields[exitField - 3])) : undefined
  }

  [Symbol.dispose](): void {
    closeSync(this.fd)
  }
}

/** Those that have ended, found by one system call that does not wait. */
export function endedOf<T extends WatchedProcess>(watched: readonly T[]): T[] {
  const fds = Buffer.alloc(watched.length * pollfdBytes)
  for (const [n, { fd }] of watched.entries()) {
    fds.writeInt32LE(fd, n * pollfdBytes)
    fds.writeInt16LE(POLLIN, n * pollfdBytes + 4)
  }
  if (cPoll(fds, watched.length, 0) <= 0) return []
  return watched.filter((_, n) => fds.readInt16LE(n * pollfdBytes + 6) !== 0)
}

/** From the third field on: the name before may contain anything. */
function statOf(pid: number): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  } catch {
    return undefined
  }
}
