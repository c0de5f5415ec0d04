import { mkdir } from 'node:fs/promises'

import type { Context } from '#core/context.ts'
import type { ActiveMount, MountHandler } from '#core/mount/manager.ts'
import type { Mount } from '#core/mount/mount.ts'
import { unimplemented } from '#lib/errors/errors.ts'
import { mountInfo } from '#sys/mount-info.ts'
import { mountAll, unmountAll } from '#sys/mount.ts'

const verity = 'X-containerd.dmverity='

/**
 * Mounts erofs images from their files.
 *
 * Source: upstream `plugins/mount/erofs`.
 */
export class ErofsHandler implements MountHandler {
  async mount(_: Context, mount: Mount, point: string): Promise<ActiveMount> {
    if (mount.options.some((option) => option.startsWith(verity))) {
      throw unimplemented(`erofs image ${mount.source} is to be verified by dm-verity`)
    }
    const options = mount.options.filter((option) => option !== 'loop')
    await mkdir(point, { mode: 0o700 })
    mountAll([{ type: 'erofs', source: mount.source, options }], point)
    return { ...mount, options, mountedAt: new Date(), mountPoint: point }
  }

  async unmount(_: Context, point: string): Promise<void> {
    await Promise.try(() => unmountAll(point, { noFollow: true }))
  }

  isMounted(point: string): boolean {
    return mountInfo().some(({ mountPoint }) => mountPoint === point)
  }
}
