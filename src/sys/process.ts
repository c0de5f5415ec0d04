import { closeSync, writeFileSync } from 'node:fs'

import { systemError } from './errno.ts'
import { checked, lastErrno, native, systemCall } from './libc.ts'

/** How a child ended. */
export interface ChildExit {
  readonly pid: number
  /** The exit code, or 128 and the number of the signal that ended it. */
  readonly status: number
  /** The number of the signal that ended it, if one did. */
  readonly signal?: number
}

const cPrctl: (...args: [number, number, number, number, number]) => number = native(
  'int prctl(int option, ulong a, ulong b, ulong c, ulong d)',
)
const cWaitpid: (...args: [number, Int32Array, number]) => number = native(
  'int waitpid(int pid, void *status, int options)',
)
const cPidfdOpen: (...args: [number, number]) => number = systemCall(434, ['int', 'uint'])
const cPidfdSendSignal: (...args: [number, number, null, number]) => number = systemCall(424, [
  'int',
  'int',
  'void *',
  'uint',
])
const cPidfdGetfd: (...args: [number, number, number]) => number = systemCall(438, [
  'int',
  'int',
  'uint',
])
const cGetpgid: (...args: [number]) => number = native('int getpgid(int pid)')

const PR_SET_PDEATHSIG = 1
const PR_SET_CHILD_SUBREAPER = 36
const WNOHANG = 1
const EINTR = 4
const ECHILD = 10

/** Makes this process the parent of descendants that lose theirs. @throws {SystemError} */
export function setSubreaper(on = true): void {
  checked(cPrctl(PR_SET_CHILD_SUBREAPER, on ? 1 : 0, 0, 0, 0), 'prctl')
}

/** Has the kernel send this process a signal when the thread that made it ends. @throws {SystemError} */
export function setParentDeathSignal(signal: number): void {
  checked(cPrctl(PR_SET_PDEATHSIG, signal, 0, 0, 0), 'prctl')
}

/** prctl(2) with numbers. @throws {SystemError} */
export function prctl(option: number, a = 0, b = 0, c = 0, d = 0): number {
  return checked(cPrctl(option, a, b, c, d), 'prctl')
}

/** The name of this thread as `ps` shows it, cut to 15 bytes. @throws {SystemError} */
export function setThreadName(name: string): void {
  writeFileSync(`/proc/${process.pid}/task/${process.pid}/comm`, name.slice(0, 15))
}

const status = new Int32Array(1)

/**
 * Reaps `pid`, or any child with -1. Gives `undefined` when none has ended yet (`nohang`) and when
 * there is no such child. Without `nohang` it blocks the thread.
 *
 * Node reaps the children of `node:child_process` itself: -1 would take those from it.
 *
 * @throws {SystemError}
 */
export function waitpid(pid: number, nohang: boolean): ChildExit | undefined {
  for (;;) {
    const reaped = cWaitpid(pid, status, nohang ? WNOHANG : 0)
    if (reaped > 0) return childExit(reaped, status[0] ?? 0)
    if (reaped === 0) return undefined
    const errno = lastErrno()
    if (errno === ECHILD) return undefined
    if (errno !== EINTR) throw systemError(errno, 'waitpid')
  }
}

function childExit(pid: number, waitStatus: number): ChildExit {
  const signal = waitStatus & 0x7f
  return { pid, status: exitStatus(waitStatus), ...(signal !== 0 && { signal }) }
}

/** The shell's number for a wait status: the exit code, or 128 and the signal. */
export function exitStatus(waitStatus: number): number {
  const signal = waitStatus & 0x7f
  return signal === 0 ? (waitStatus >> 8) & 0xff : 128 + signal
}

/** A descriptor that means this very process, also when its number is used again. @throws {SystemError} `ESRCH` */
export function pidfdOpen(pid: number): number {
  return checked(cPidfdOpen(pid, 0), 'pidfd_open', { path: String(pid) })
}

/**
 * Another descriptor for the open file that `pid` has as `fd`; closed on exec, and the caller's to close.
 *
 * @throws {SystemError} `ESRCH`; `EBADF`; `EPERM` where it may not be looked into; `ENOSYS` before Linux 5.6.
 */
export function takeDescriptor(pid: number, fd: number): number {
  const pidfd = pidfdOpen(pid)
  try {
    return checked(cPidfdGetfd(pidfd, fd, 0), 'pidfd_getfd', { path: `/proc/${pid}/fd/${fd}` })
  } finally {
    closeSync(pidfd)
  }
}

/** Sends a signal to the process of a pidfd. @throws {SystemError} `ESRCH` when it has ended. */
export function pidfdSendSignal(pidfd: number, signal: number): void {
  checked(cPidfdSendSignal(pidfd, signal, null, 0), 'pidfd_send_signal')
}

/** The process group of `pid`, 0 for the caller. @throws {SystemError} `ESRCH` */
export function getpgid(pid: number): number {
  return checked(cGetpgid(pid), 'getpgid', { path: String(pid) })
}

/** How readily the kernel ends `pid` when memory runs out: -1000 (never) to 1000. @throws {SystemError} */
export function setOomScoreAdj(pid: number, score: number): void {
  writeFileSync(`/proc/${pid}/oom_score_adj`, String(score))
}
