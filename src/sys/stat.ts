import { AT_SYMLINK_NOFOLLOW } from './file.ts'
import { checked, cString, native } from './libc.ts'

/** What statx(2) tells of a file. Times are nanoseconds since the epoch. */
export interface FileStat {
  /** Type and permissions. */
  readonly mode: number
  readonly nlink: number
  readonly uid: number
  readonly gid: number
  readonly ino: bigint
  readonly size: number
  /** 512-byte blocks in use. */
  readonly blocks: number
  readonly atime: bigint
  readonly mtime: bigint
  readonly ctime: bigint
  /** The device the file is on. */
  readonly dev: { readonly major: number; readonly minor: number }
  /** The device the file is. */
  readonly rdev: { readonly major: number; readonly minor: number }
}

const statx: (...args: [number, string | Uint8Array, number, number, Uint8Array]) => number =
  native('int statx(int dir, const char *path, int flags, uint mask, void *buffer)')
const BASIC_STATS = 0x7ff
const buffer = new Uint8Array(256)
const view = new DataView(buffer.buffer)

/** The file itself, also when it is a symbolic link, unless `flags` say otherwise. @throws {SystemError} */
export function fstatat(dir: number, path: string, flags: number = AT_SYMLINK_NOFOLLOW): FileStat {
  checked(statx(dir, cString(path), flags, BASIC_STATS, buffer), 'statx', { path })
  return decode()
}

/** struct statx, whose layout is the same everywhere; the byte order is the machine's. */
function decode(): FileStat {
  return {
    nlink: u32(16),
    uid: u32(20),
    gid: u32(24),
    mode: view.getUint16(28, little),
    ino: u64(32),
    size: Number(u64(40)),
    blocks: Number(u64(48)),
    atime: time(64),
    ctime: time(96),
    mtime: time(112),
    rdev: { major: u32(128), minor: u32(132) },
    dev: { major: u32(136), minor: u32(140) },
  }
}

const little = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1
const u32 = (at: number): number => view.getUint32(at, little)
const u64 = (at: number): bigint => view.getBigUint64(at, little)
const time = (at: number): bigint =>
  view.getBigInt64(at, little) * 1_000_000_000n + BigInt(u32(at + 8))
