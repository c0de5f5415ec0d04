import { cString, checked, lastErrno, systemCall } from './libc.ts'
import { systemError } from './errno.ts'

/** How openat2(2) resolves a path. */
export const Resolve = {
  /** Do not leave the mount. */
  noXdev: 0x01,
  /** No links that jump, as in /proc/PID/fd. */
  noMagicLinks: 0x02,
  /** No symbolic link in any component. */
  noSymlinks: 0x04,
  /** Fail with `EXDEV` for what leads out of the directory. */
  beneath: 0x08,
  /** The directory is `/` and its own parent. */
  inRoot: 0x10,
} as const

export interface Openat2Options {
  /** Flags of open(2), O_CLOEXEC is added. */
  readonly flags: number
  /** Permissions of a file made; 0 without O_CREAT. */
  readonly mode?: number
  /** Bits of `Resolve`. */
  readonly resolve?: number
}

const call: (...args: [number, string | Uint8Array, BigUint64Array, number]) => number = systemCall(
  437,
  ['int', 'const char *', 'void *', 'size_t'],
)
const O_CLOEXEC = 0o2000000
const EAGAIN = 11
/** struct open_how { u64 flags, mode, resolve }, reused: calls are synchronous. */
const how = new BigUint64Array(3)

/**
 * openat2(2): opens `path` below `dir`, a directory's descriptor. It is asked again while the kernel
 * says that a rename elsewhere kept it from being sure (`EAGAIN`), 128 times at most.
 *
 * @throws {SystemError}
 */
export function openat2(dir: number, path: string, options: Openat2Options): number {
  const text = cString(path)
  how[0] = BigInt(options.flags | O_CLOEXEC)
  how[1] = BigInt(options.mode ?? 0)
  how[2] = BigInt(options.resolve ?? 0)
  for (let tries = 0; tries < 128; tries++) {
    const fd = call(dir, text, how, 24)
    if (fd >= 0) return fd
    const errno = lastErrno()
    if (errno !== EAGAIN) throw systemError(errno, 'openat2', { path })
  }
  return checked(-1, 'openat2', { path })
}
