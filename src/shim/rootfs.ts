import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { isErrno } from '#sys/errno.ts'
import { type Mount, mountAll, unmountRecursive } from '#sys/mount.ts'

const busyRetries = 50
const busyMs = 50

/**
 * Puts the root file system of a bundle together at `<bundle>/rootfs`; without mounts it is there
 * already, or the spec names another.
 *
 * @returns the path to give to `releaseRootfs`, empty when nothing was mounted.
 */
export async function mountRootfs(bundle: string, mounts: readonly Mount[]): Promise<string> {
  if (mounts.length === 0) return ''
  const rootfs = join(bundle, 'rootfs')
  mkdirSync(rootfs, { recursive: true, mode: 0o711 })
  try {
    mountAll(mounts, rootfs)
  } catch (err) {
    await releaseRootfs(rootfs)
    throw new Error('failed to mount rootfs component', { cause: err })
  }
  return rootfs
}

/** Unmounts what is at `rootfs` and below; for a moment it may still be in use by what just ended. */
export async function releaseRootfs(rootfs: string): Promise<void> {
  if (rootfs === '') return
  for (let attempt = 1; ; attempt += 1) {
    try {
      unmountRecursive(rootfs)
      return
    } catch (err) {
      if (!isErrno(err, 'EBUSY') || attempt === busyRetries) {
        throw new Error('failed rootfs umount', { cause: err })
      }
    }
    await sleep(busyMs)
  }
}
