import { closeSync, constants, openSync } from 'node:fs'

import { toBytes } from '#lib/bytes/byte-string.ts'

import { isErrno } from './errno.ts'
import { checked, native } from './libc.ts'

/** How a file becomes a block device. */
export interface LoopOptions {
  /** The device cannot be written to, and the file is opened for reading only. */
  readonly readOnly?: boolean
  /** Past the page cache, which then holds everything once, not twice. */
  readonly directIo?: boolean
  /**
   * The device stays when its last user goes, until `detachLoop` or `setAutoclear`. Otherwise the
   * kernel gives it back then, so nothing can leak.
   */
  readonly keep?: boolean
}

/** A file that is a block device. Disposing it closes it; a mount of it goes on using it. */
export interface LoopDevice extends Disposable {
  /** `/dev/loop7` */
  readonly path: string
  /** The open device. */
  readonly fd: number
}

const ioctl: (...args: [number, number, number | Uint8Array]) => number = native(
  'int ioctl(int fd, ulong request, void *value)',
)
const ioctlNumber: (...args: [number, number, number]) => number = native(
  'int ioctl(int fd, ulong request, long value)',
)

const LOOP_CLR_FD = 0x4c01
const LOOP_SET_STATUS64 = 0x4c04
const LOOP_GET_STATUS64 = 0x4c05
const LOOP_CONFIGURE = 0x4c0a
const LOOP_CTL_GET_FREE = 0x4c82

const Flag = { readOnly: 1, autoclear: 4, directIo: 16 } as const

/**
 * struct loop_info64, 232 bytes: five u64 (device, inode, rdevice, offset, sizelimit), four u32
 * (number, two of encryption, flags), then names: file[64], crypt[64], key[32], init[2].
 */
const infoSize = 232
const flagsAt = 52
const fileNameAt = 56
const fileNameSize = 64

/** struct loop_config: u32 fd, u32 block size, the info, 64 reserved bytes. Linux 5.8. */
const configSize = 8 + infoSize + 64

/** Others look for a free device, too; each such loss is another's gain, so this ends. */
const maxTries = 100

/**
 * Makes `file` a block device.
 *
 * @throws {SystemError} `ENOENT` also for a machine without loop devices; of `file` when it can't be opened.
 */
export function attachLoop(file: string, options: LoopOptions = {}): LoopDevice {
  const mode = options.readOnly ? constants.O_RDONLY : constants.O_RDWR
  const backing = openSync(file, mode)
  using closing = new DisposableStack()
  closing.defer(() => closeSync(backing))
  const config = loopConfig(backing, file, options)
  for (let tries = 1; ; tries++) {
    const path = `/dev/loop${freeDevice()}`
    const fd = openSync(path, mode)
    try {
      checked(ioctl(fd, LOOP_CONFIGURE, config), 'ioctl', { path, dest: file })
      return { path, fd, [Symbol.dispose]: () => closeSync(fd) }
    } catch (err) {
      closeSync(fd)
      if (!isErrno(err, 'EBUSY') || tries === maxTries) throw err
    }
  }
}

/** Gives a device back, at once or when its last user goes. @throws {SystemError} `ENXIO` when it is free. */
export function detachLoop(path: string): void {
  const fd = openSync(path, constants.O_RDONLY)
  try {
    checked(ioctlNumber(fd, LOOP_CLR_FD, 0), 'ioctl', { path })
  } finally {
    closeSync(fd)
  }
}

/** Whether the kernel gives a device back when its last user goes. @throws {SystemError} `ENXIO` when it is free. */
export function setAutoclear(fd: number, on: boolean): void {
  const info = new Uint8Array(infoSize)
  const view = new DataView(info.buffer)
  checked(ioctl(fd, LOOP_GET_STATUS64, info), 'ioctl')
  const flags = view.getUint32(flagsAt, true)
  view.setUint32(flagsAt, on ? flags | Flag.autoclear : flags & ~Flag.autoclear, true)
  checked(ioctl(fd, LOOP_SET_STATUS64, info), 'ioctl')
}

function loopConfig(backing: number, file: string, options: LoopOptions): Uint8Array {
  const config = new Uint8Array(configSize)
  const view = new DataView(config.buffer)
  view.setUint32(0, backing, true)
  const flags =
    (options.readOnly ? Flag.readOnly : 0) |
    (options.keep ? 0 : Flag.autoclear) |
    (options.directIo ? Flag.directIo : 0)
  view.setUint32(8 + flagsAt, flags, true)
  // What losetup(8) shows; one byte of it is the end.
  config.set(toBytes(file).subarray(0, fileNameSize - 1), 8 + fileNameAt)
  return config
}

function freeDevice(): number {
  const path = '/dev/loop-control'
  const control = openSync(path, constants.O_RDWR)
  try {
    return checked(ioctlNumber(control, LOOP_CTL_GET_FREE, 0), 'ioctl', { path })
  } finally {
    closeSync(control)
  }
}
