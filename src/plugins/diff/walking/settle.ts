import { closeSync, constants } from 'node:fs'
import { posix } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'

import type { Context } from '#core/context.ts'
import { isErrno } from '#sys/errno.ts'
import { openat2, Resolve } from '#sys/openat2.ts'
import { O_PATH, openRoot } from '#sys/resolve.ts'
import { lookAt } from '#sys/tree.ts'

import { dirname } from './directories.ts'
import { isDirectory } from './file-kind.ts'
import { LowerLayers } from './lower-layers.ts'

/** A layer that was unpacked alone, though it leaves out directories. */
export interface Unsettled {
  /** Where it was unpacked to. */
  readonly upper: string
  /** What it leaves out and has files in, parents first. */
  readonly left: readonly string[]
}

/** So many directories are settled before others have their turn. */
const slice = 32

/**
 * Gives directories that a layer leaves out what the layers `below` know of them, nearest first. Links in
 * the layer are not followed: what is behind one was not left out.
 *
 * @throws {SystemError}; the reason of the signal.
 */
export async function settle(
  { signal }: Pick<Context, 'signal'>,
  { upper, left }: Unsettled,
  below: readonly string[],
): Promise<void> {
  using lowers = new LowerLayers({ lowers: below, userxattr: false })
  using stack = new DisposableStack()
  const root = stack.adopt(openRoot(upper), closeSync)
  for (const [n, path] of left.entries()) {
    if (n % slice === slice - 1) await turn(undefined, { signal })
    signal.throwIfAborted()
    settleOne(root, path, lowers)
  }
}

function settleOne(root: number, path: string, lowers: LowerLayers): void {
  const fd = openParent(root, path)
  if (fd === undefined) return
  try {
    const name = posix.basename(path)
    const stat = lookAt(fd, name)
    if (stat && isDirectory(stat)) lowers.copyAttributes(path, fd, name)
  } finally {
    closeSync(fd)
  }
}

function openParent(root: number, path: string): number | undefined {
  try {
    const resolve = Resolve.beneath | Resolve.noSymlinks
    return openat2(root, dirname(path) || '.', { flags: O_PATH | constants.O_DIRECTORY, resolve })
  } catch (err) {
    if (isErrno(err, 'ENOENT', 'ENOTDIR', 'ELOOP')) return undefined
    throw err
  }
}
