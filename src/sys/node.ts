import { AT_FDCWD } from './file.ts'
import { checked, cString, native } from './libc.ts'

/** The types a node can have, as bits of its mode. */
export const NodeType = {
  fifo: 0o010000,
  character: 0o020000,
  block: 0o060000,
  regular: 0o100000,
  socket: 0o140000,
} as const

const cMknodat: (...args: [number, string | Uint8Array, number, number | bigint]) => number =
  native('int mknodat(int dir, const char *path, uint mode, uint64_t device)')

/** mknodat(2); `mode` holds a `NodeType` and permissions, `device` comes from `makeDevice`. @throws {SystemError} */
export function mknodat(dir: number, path: string, mode: number, device: number | bigint): void {
  checked(cMknodat(dir, cString(path), mode, device), 'mknodat', { path })
}

/** A named pipe. @throws {SystemError} `EEXIST` */
export function mkfifo(path: string, mode: number): void {
  mknodat(AT_FDCWD, path, NodeType.fifo | mode, 0)
}

/** Puts a device number together as glibc and the kernel's dev_t have it. */
export function makeDevice(major: number, minor: number): bigint {
  const [high, low] = [BigInt(major), BigInt(minor)]
  return (
    ((high & 0xfffff000n) << 32n) |
    ((high & 0xfffn) << 8n) |
    ((low & 0xffffff00n) << 12n) |
    (low & 0xffn)
  )
}

/** The parts of a device number, such as `rdev` of a stat. */
export function deviceParts(device: number | bigint): {
  readonly major: number
  readonly minor: number
} {
  const all = BigInt(device)
  return {
    major: Number(((all >> 32n) & 0xfffff000n) | ((all >> 8n) & 0xfffn)),
    minor: Number(((all >> 12n) & 0xffffff00n) | (all & 0xffn)),
  }
}
