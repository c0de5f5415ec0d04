import { readdir } from 'node:fs/promises'

import type { Context } from '#core/context.ts'
import { hasErrno } from '#lib/fs/has-errno.ts'
import { removeTree } from '#lib/fs/remove-tree.ts'
import { deleteSubvolume, isSubvolume } from '#sys/btrfs.ts'

/**
 * Removes a subvolume, those that a container has made in it, or what else is at `path`; nothing
 * happens when it is missing. Never throws: what can't be removed is logged, and found again by the
 * next clean-up.
 */
export async function removeSubvolume(ctx: Context, path: string): Promise<void> {
  try {
    if (isSubvolume(path)) await remove(Buffer.from(path))
    else await removeTree(path)
  } catch (error) {
    ctx.log.warn('failed to delete subvolume', { subvolume: path, error })
  }
}

async function remove(path: Buffer): Promise<void> {
  try {
    await deleteSubvolume(path)
  } catch (err) {
    if (hasErrno(err, 'ENOENT')) return
    if (!hasErrno(err, 'ENOTEMPTY')) throw err
    await removeInside(path)
    await deleteSubvolume(path)
  }
}

/** Removes subvolumes below the directory `dir`, the deepest first. */
async function removeInside(dir: Buffer): Promise<void> {
  for (const entry of await readdir(dir, { withFileTypes: true, encoding: 'buffer' })) {
    if (!entry.isDirectory()) continue
    const path = Buffer.concat([dir, Buffer.from('/'), entry.name])
    if (isSubvolume(path)) await remove(path)
    else await removeInside(path)
  }
}
