import { closeSync, constants, fstatSync } from 'node:fs'

import { systemError } from './errno.ts'
import { checked, native } from './libc.ts'
import { takeDescriptor } from './process.ts'

/** The two ends of a new pseudo-terminal. */
export interface Pty {
  /** The descriptor of the master end, closed on exec. */
  readonly master: number
  readonly slavePath: string
}

/** The size of a terminal, in characters. */
export interface WindowSize {
  readonly width: number
  readonly height: number
}

const posixOpenpt: (...args: [number]) => number = native('int posix_openpt(int flags)')
const grantpt: (...args: [number]) => number = native('int grantpt(int fd)')
const unlockpt: (...args: [number]) => number = native('int unlockpt(int fd)')
const ptsnameR: (...args: [number, Uint8Array, number]) => number = native(
  'int ptsname_r(int fd, void *name, size_t size)',
)
const ioctl: (...args: [number, number, Uint16Array | Uint32Array]) => number = native(
  'int ioctl(int fd, ulong request, void *value)',
)

const TIOCGWINSZ = 0x5413
const TIOCSWINSZ = 0x5414
const TIOCGPTN = 0x80045430
const O_CLOEXEC = 0o2000000

/** Makes a pseudo-terminal. The caller closes the master. @throws {SystemError} */
export function openPty(): Pty {
  const flags = constants.O_RDWR | constants.O_NOCTTY | O_CLOEXEC
  const master = checked(posixOpenpt(flags), 'posix_openpt')
  try {
    checked(grantpt(master), 'grantpt')
    checked(unlockpt(master), 'unlockpt')
    return { master, slavePath: slaveName(master) }
  } catch (err) {
    closeSync(master)
    throw err
  }
}

function slaveName(master: number): string {
  const name = Buffer.alloc(128)
  // Unlike the others it returns the number of its error.
  const errno = ptsnameR(master, name, name.length)
  if (errno !== 0) throw systemError(errno, 'ptsname_r')
  return name.toString('utf8', 0, name.indexOf(0))
}

/** Which terminal `master` is: its file system, of which each container has its own, and its number there. @throws {SystemError} `ENOTTY` */
export function ptyOf(master: number): string {
  const number = new Uint32Array(1)
  checked(ioctl(master, TIOCGPTN, number), 'ioctl')
  return `${fstatSync(master).dev}/${number[0]}`
}

/**
 * Another descriptor for the master of `pty`, which the process `pid` has as `fd`; the caller's to close. Nothing
 * when that is another file by now.
 *
 * @throws {SystemError} as `takeDescriptor`.
 */
export function takePty(pid: number, fd: number, pty: string): number | undefined {
  const taken = takeDescriptor(pid, fd)
  if (isPty(taken, pty)) return taken
  closeSync(taken)
  return undefined
}

function isPty(fd: number, pty: string): boolean {
  try {
    return ptyOf(fd) === pty
  } catch {
    return false
  }
}

/** Tells the terminal its size; the kernel sends SIGWINCH to its foreground group. @throws {SystemError} */
export function setWindowSize(fd: number, size: WindowSize): void {
  checked(ioctl(fd, TIOCSWINSZ, Uint16Array.of(size.height, size.width, 0, 0)), 'ioctl')
}

/** The size the terminal has. @throws {SystemError} `ENOTTY` */
export function getWindowSize(fd: number): WindowSize {
  const size = new Uint16Array(4)
  checked(ioctl(fd, TIOCGWINSZ, size), 'ioctl')
  const [height = 0, width = 0] = size
  return { width, height }
}
