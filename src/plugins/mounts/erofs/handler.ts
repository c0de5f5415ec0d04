import { mkdir } from 'node:fs/promises'

import type { Context } from '#core/context.ts'
import type { ActiveMount, MountHandler } from '#core/mount/manager.ts'
import type { Mount } from '#core/mount/mount.ts'
import { unimplemented } from '#lib/errors/errors.ts'
import { isErrno } from '#sys/errno.ts'
import { attachLoop } from '#sys/loop.ts'
import { mountInfo } from '#sys/mount-info.ts'
import { mountAll, unmountAll } from '#sys/mount.ts'

const verity = 'X-containerd.dmverity='
const device = 'device='

/**
 * Mounts erofs images: from their files where the kernel can (Linux 6.12), and else through loop
 * devices, which go when the mount does.
 *
 * Source: upstream `plugins/mount/erofs`.
 */
export class ErofsHandler implements MountHandler {
  #fromFiles: boolean

  /** @param fromFiles whether to try without loop devices first. */
  constructor(fromFiles = true) {
    this.#fromFiles = fromFiles
  }

  async mount(_: Context, mount: Mount, point: string): Promise<ActiveMount> {
    if (mount.options.some((option) => option.startsWith(verity))) {
      throw unimplemented(`erofs image ${mount.source} is to be verified by dm-verity`)
    }
    const options = mount.options.filter((option) => option !== 'loop')
    await mkdir(point, { mode: 0o700 })
    const used = this.#mount({ type: 'erofs', source: mount.source, options }, point)
    return { ...used, mountedAt: new Date(), mountPoint: point }
  }

  async unmount(_: Context, point: string): Promise<void> {
    await Promise.try(() => unmountAll(point, { noFollow: true }))
  }

  isMounted(point: string): boolean {
    return mountInfo().some(({ mountPoint }) => mountPoint === point)
  }

  /** @returns what has been mounted. */
  #mount(mount: Mount, point: string): Mount {
    if (!this.#fromFiles) return mountDevices(mount, point)
    try {
      mountAll([mount], point)
      return mount
    } catch (err) {
      if (!isErrno(err, 'ENOTBLK')) throw err
      this.#fromFiles = false
      return mountDevices(mount, point)
    }
  }
}

/** The mount holds on to the devices that are open until it is made. */
function mountDevices({ source, options, ...mount }: Mount, point: string): Mount {
  using devices = new DisposableStack()
  const deviceOf = (file: string): string => devices.use(attachLoop(file, { readOnly: true })).path
  const used = {
    ...mount,
    source: deviceOf(source),
    options: options.map((option) =>
      option.startsWith(device) ? `${device}${deviceOf(option.slice(device.length))}` : option,
    ),
  }
  mountAll([used], point)
  return used
}
