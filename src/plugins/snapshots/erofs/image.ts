import { execFile } from 'node:child_process'
import { chownSync, existsSync, lstatSync, statSync } from 'node:fs'
import { link, open, readdir, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'

import type { Context } from '#core/context.ts'
import { fullDisk } from '#lib/fs/full-disk.ts'
import { removeTree } from '#lib/fs/remove-tree.ts'
import { InodeFlag, setInodeFlag } from '#sys/inode-flags.ts'
import { whenDetached } from '#sys/loop-users.ts'
import { mountAll, unmountAll } from '#sys/mount.ts'

import type { SnapshotFiles } from './files.ts'
import { enableVerityOf } from './fs-verity.ts'

/** How long a file that is still mounted is waited for, in ms. */
const busyMs = 2500

/**
 * Makes the image of an active snapshot, unless a differ has: `layer.erofs`, durable, while its other
 * name `layer.erofs.new` says that its commit is not done. One that a commit has left that failed is made
 * again: what it is of may have changed.
 *
 * @param guarded whether the kernel is to refuse blocks of it that are not what they were.
 * @throws what mkfs.erofs says; `failed_precondition` while the file of what was written is mounted.
 */
export async function makeImage(
  ctx: Context,
  files: SnapshotFiles,
  id: string,
  guarded: boolean,
): Promise<void> {
  const [image, unfinished] = [files.layer(id), files.newLayer(id)]
  if (files.isApplied(id)) {
    await sync(image)
    if (guarded) await enableVerityOf(image)
    return
  }
  await dropImage(files, id)
  try {
    await convert(ctx, files, id)
    await sync(unfinished)
    if (guarded) await enableVerityOf(unfinished)
    await link(unfinished, image)
    await sync(dirname(image))
  } catch (err) {
    await dropImage(files, id)
    ctx.signal.throwIfAborted()
    throw notConverted(fullDisk(err, image))
  }
}

/** Removes what the image of a committed snapshot was made from. */
export async function dropSources(ctx: Context, files: SnapshotFiles, id: string): Promise<void> {
  await rm(files.newLayer(id), { force: true })
  await rm(files.writable(id), { force: true })
  const upper = files.upper(id)
  for (const name of await readdir(upper, { encoding: 'buffer' })) {
    await removeTree(Buffer.concat([Buffer.from(`${upper}/`), name]), ctx)
  }
}

/** Removes the image that a failed commit has made, and leaves one that a differ has. */
export async function dropImage(files: SnapshotFiles, id: string): Promise<void> {
  const unfinished = files.newLayer(id)
  // The name that tells goes last.
  if (existsSync(unfinished)) await rm(files.layer(id), { force: true })
  await rm(unfinished, { force: true })
}

/**
 * Sets or clears the mark on an image that nobody may change or remove it; it guards against accidents
 * only. That of a cache is not ours, and is left alone.
 *
 * @throws {SystemError} where the file system has no such marks.
 */
export function markImmutable(image: string, on: boolean): void {
  if (lstatSync(image, { throwIfNoEntry: false })?.isSymbolicLink()) return
  setInodeFlag(image, InodeFlag.immutable, on)
}

async function convert(ctx: Context, files: SnapshotFiles, id: string): Promise<void> {
  const [written, place] = [files.writable(id), files.upper(id)]
  // A killed daemon's mount here is undone when the next one opens the snapshotter.
  using mounted = new DisposableStack()
  if (existsSync(written)) {
    // Whoever has just unmounted it may still be flushing it.
    await whenDetached(written, { signal: ctx.signal, ms: busyMs })
    mounted.defer(() => unmountAll(place))
    mountAll([{ type: 'ext4', source: written, options: ['ro', 'loop', 'noload'] }], place)
  }
  const upper = join(place, 'upper')
  const root = existsSync(written) ? statSync(upper, { throwIfNoEntry: false }) : undefined
  // Nobody has mounted it yet: nothing was written.
  if (!root) mounted.dispose()
  await runMkfs(ctx, files.newLayer(id), root ? upper : place)
  mounted.dispose()
  // Snapshots on top take the owner of their root from here.
  if (root) chownSync(place, root.uid, root.gid)
}

/** Tail blocks are not put into inodes, so that the image can be mapped. */
async function runMkfs(ctx: Context, image: string, source: string): Promise<void> {
  const args = ['--quiet', '-Enoinline_data', image, source]
  await promisify(execFile)('mkfs.erofs', args, { signal: ctx.signal, killSignal: 'SIGKILL' })
}

async function sync(path: string): Promise<void> {
  await using file = await open(path)
  await file.sync()
}

const notConverted = (cause: unknown): Error =>
  new Error('failed to convert upper to erofs layer', { cause })
