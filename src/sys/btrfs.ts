import { closeSync, openSync, statfsSync, statSync } from 'node:fs'
import { basename, dirname } from 'node:path'

import { toBytes } from '#lib/bytes/byte-string.ts'

import { isErrno } from './errno.ts'
import { background, checked, native } from './libc.ts'

/*
 * Subvolumes of btrfs: trees of files of which one is made from another without a copy.
 * Source: Linux `include/uapi/linux/btrfs.h`. Arguments are 4096 bytes.
 *
 *     btrfs_ioctl_vol_args      0 i64 fd   8 name
 *     btrfs_ioctl_vol_args_v2   0 i64 fd   8 u64 transaction  16 u64 flags  24 u64[4] unused  56 name
 *     btrfs_ioctl_ino_lookup    0 u64 tree 8 u64 object       16 name
 *
 * But for those of a limit: 0 u64 group, 0 for the subvolume's own; 8 u64 flags, 16 u64[4] limits, of
 * which the second is for what no other subvolume shares.
 */

const argBytes = 4096
const BTRFS_IOC_SUBVOL_CREATE = 0x5000940e
const BTRFS_IOC_SNAP_DESTROY = 0x5000940f
const BTRFS_IOC_SNAP_CREATE_V2 = 0x50009417
const BTRFS_IOC_QGROUP_LIMIT = 0x8030942b
const BTRFS_QGROUP_LIMIT_MAX_EXCL = 2n
const BTRFS_IOC_INO_LOOKUP = 0xd0009412
const BTRFS_SUBVOL_RDONLY = 2n
const BTRFS_SUPER_MAGIC = 0x9123683e
/** The inode number of the root of every subvolume, and of nothing else. */
const firstObject = 256n

const ioctl: (...args: [number, number, Uint8Array]) => number = native(
  'int ioctl(int fd, ulong request, void *value)',
)
/** Changes of subvolumes wait for the disk. */
const slowIoctl = background('int ioctl(int fd, ulong request, void *value)')

export const isBtrfs = (path: string): boolean => statfsSync(path).type === BTRFS_SUPER_MAGIC

/** @returns false also when nothing is there. */
export function isSubvolume(path: string | Buffer): boolean {
  return statSync(path, { bigint: true, throwIfNoEntry: false })?.ino === firstObject
}

/** Makes an empty subvolume. @throws {SystemError} `EEXIST` */
export async function createSubvolume(path: string): Promise<void> {
  await inParent(path, BTRFS_IOC_SUBVOL_CREATE, args(8, path))
}

export interface CopyOptions {
  readonly readOnly: boolean
}

/** Makes a subvolume with the files of another, as they are; on the disk when this resolves. @throws {SystemError} */
export async function copySubvolume(from: string, to: string, options: CopyOptions): Promise<void> {
  const source = openSync(from, 'r')
  try {
    const arg = args(56, to)
    const view = new DataView(arg.buffer)
    view.setBigInt64(0, BigInt(source), true)
    view.setBigUint64(16, options.readOnly ? BTRFS_SUBVOL_RDONLY : 0n, true)
    await inParent(to, BTRFS_IOC_SNAP_CREATE_V2, arg)
  } finally {
    closeSync(source)
  }
}

/** Removes a subvolume with its files. @throws {SystemError} `ENOTEMPTY` while another is in it, `EINVAL` for what is none. */
export async function deleteSubvolume(path: string | Buffer): Promise<void> {
  await inParent(path, BTRFS_IOC_SNAP_DESTROY, args(8, path))
}

/** The number that mounts know the subvolume at `path` by. @throws {SystemError} */
export function subvolumeId(path: string): bigint {
  const fd = openSync(path, 'r')
  try {
    const arg = new Uint8Array(argBytes)
    const view = new DataView(arg.buffer)
    view.setBigUint64(8, firstObject, true)
    checked(ioctl(fd, BTRFS_IOC_INO_LOOKUP, arg), 'ioctl', { path })
    return view.getBigUint64(0, true)
  } finally {
    closeSync(fd)
  }
}

/**
 * Bounds what a subvolume may use besides what it shares with others.
 *
 * @returns false where the file system counts nothing: `btrfs quota enable` is its administrator's.
 * @throws {SystemError}
 */
export function limitSubvolume(path: string, bytes: number): boolean {
  const fd = openSync(path, 'r')
  try {
    const limits = BigUint64Array.of(0n, BTRFS_QGROUP_LIMIT_MAX_EXCL, 0n, BigInt(bytes), 0n, 0n)
    const arg = new Uint8Array(limits.buffer)
    checked(ioctl(fd, BTRFS_IOC_QGROUP_LIMIT, arg), 'ioctl', { path })
    return true
  } catch (err) {
    if (isErrno(err, 'ENOTCONN')) return false
    throw err
  } finally {
    closeSync(fd)
  }
}

function args(nameAt: number, path: string | Buffer): Uint8Array<ArrayBuffer> {
  const arg = new Uint8Array(argBytes)
  const name = typeof path === 'string' ? toBytes(basename(path)) : path.subarray(slash(path) + 1)
  arg.set(name.subarray(0, argBytes - nameAt - 1), nameAt)
  return arg
}

async function inParent(path: string | Buffer, request: number, arg: Uint8Array): Promise<void> {
  const dir = openSync(
    typeof path === 'string' ? dirname(path) : path.subarray(0, slash(path)),
    'r',
  )
  try {
    await slowIoctl('ioctl', dir, request, arg)
  } finally {
    closeSync(dir)
  }
}

const slash = (path: Buffer): number => path.lastIndexOf(0x2f)
