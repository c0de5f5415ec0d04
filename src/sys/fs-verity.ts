import { background, native } from './libc.ts'

/*
 * fs-verity: the kernel keeps a tree of hashes beside a file, refuses to change the file from then on,
 * and fails each read of a block that is not what it was. Source: Linux `fs-verity.rst`,
 * `include/uapi/linux/fsverity.h`.
 *
 *     struct fsverity_enable_arg, 128 bytes
 *      0 u32 version = 1      16 u64 salt                  24 u32 signature size
 *      4 u32 hash algorithm   12 u32 salt size             32 u64 signature
 *      8 u32 block size       28 u32, 40 u64[11] reserved, zero
 */

const argBytes = 128
const sha256 = 1
/** `_IOW('f', 133, struct fsverity_enable_arg)`, as most architectures number it. */
const FS_IOC_ENABLE_VERITY = 0x40806685

const ioctl = background('int ioctl(int fd, ulong request, void *value)')
const pageSize: () => number = native('int getpagesize()')

/**
 * Has the kernel keep the file of `fd` as it is. It reads the whole file, beside the event loop, and
 * what it adds is durable when this resolves.
 *
 * @param fd open for reading only, as must be every other descriptor of the file.
 * @param blockBytes of the file system.
 * @throws {SystemError} `ENOTTY` or `ENOTSUP` where there is no fs-verity, `EEXIST` where the
 * file has it, `ETXTBSY` while somebody may write to it.
 */
export async function enableVerity(fd: number, blockBytes: number): Promise<void> {
  await ioctl('ioctl', fd, FS_IOC_ENABLE_VERITY, enableArg(Math.min(blockBytes, pageSize())))
}

/** What to ask for: SHA-256 over blocks of `blockBytes`, neither salt nor signature. */
export function enableArg(blockBytes: number): Uint8Array {
  const arg = new Uint8Array(argBytes)
  arg.set(new Uint8Array(Uint32Array.of(1, sha256, blockBytes).buffer))
  return arg
}
