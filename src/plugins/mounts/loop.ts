import {
  closeSync,
  openSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { basename } from 'node:path'

import type { Context } from '#core/context.ts'
import type { ActiveMount, MountHandler } from '#core/mount/manager.ts'
import type { Mount } from '#core/mount/mount.ts'
import { isErrno } from '#sys/errno.ts'
import { whenDetached } from '#sys/loop-users.ts'
import { attachLoop, setAutoclear } from '#sys/loop.ts'

/** How long a file that is another device is waited for, in ms. */
const busyMs = 2500

/**
 * Makes a file a block device, for later mounts. What is at the place is a link to the device, and
 * beside it, in `<n>-source`, the file that the device should be of: after a crash it may be another's.
 *
 * Source: upstream `core/mount/loopback_handler_linux.go`.
 */
export class LoopHandler implements MountHandler {
  async mount(ctx: Context, mount: Mount, point: string): Promise<ActiveMount> {
    await writeFile(sourceFile(point), realpathSync(mount.source), { mode: 0o600 })
    const readOnly = mount.options.includes('ro')
    if (!readOnly) await whenDetached(mount.source, { signal: ctx.signal, ms: busyMs })
    using device = attachLoop(mount.source, { readOnly })
    symlinkSync(device.path, point)
    // Only now: a device that stays must be found.
    setAutoclear(device.fd, false)
    return { ...mount, mountedAt: new Date(), mountPoint: point }
  }

  async unmount(_: Context, point: string): Promise<void> {
    await Promise.try(() => release(point))
  }

  isMounted(point: string): boolean {
    const device = deviceAt(point)
    return device !== undefined && isOwn(device, point)
  }
}

/** The kernel takes the device back when its last user is gone. */
function release(point: string): void {
  const device = deviceAt(point)
  if (device === undefined) return
  if (!isOwn(device, point)) return unlinkSync(point)
  const fd = openSync(device, 'r')
  try {
    setAutoclear(fd, true)
    unlinkSync(point)
  } finally {
    closeSync(fd)
  }
}

function deviceAt(point: string): string | undefined {
  try {
    return readlinkSync(point)
  } catch (err) {
    if (!isErrno(err, 'ENOENT')) throw err
    return undefined
  }
}

/** Whether the device is of the file that it was made of. containerd does not write that down. */
function isOwn(device: string, point: string): boolean {
  const backing = text(`/sys/block/${basename(device)}/loop/backing_file`)
  const source = text(sourceFile(point))
  return backing !== undefined && (source === undefined || backing === source)
}

function text(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').replace(/(?: \(deleted\))?\n?$/, '')
  } catch (err) {
    if (!isErrno(err, 'ENOENT')) throw err
    return undefined
  }
}

const sourceFile = (point: string): string => `${point}-source`
