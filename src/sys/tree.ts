import { closeSync, constants, readdirSync } from 'node:fs'

import { fromBytes } from '#lib/bytes/byte-string.ts'
import { isErrno } from './errno.ts'
import { AT_REMOVEDIR, unlinkat } from './file.ts'
import { openat2, Resolve } from './openat2.ts'
import { O_PATH } from './resolve.ts'
import { type FileStat, fstatat } from './stat.ts'

/** What is at `name`, not following a link; `undefined` for nothing. @throws {SystemError} */
export function lookAt(dir: number, name: string): FileStat | undefined {
  try {
    return fstatat(dir, name)
  } catch (err) {
    if (isErrno(err, 'ENOENT', 'ENOTDIR')) return undefined
    throw err
  }
}

/** Opens the directory `name` of `dir`, which must not be a link, for the `*at` functions. @throws {SystemError} */
export function openChild(dir: number, name: string): number {
  const resolve = Resolve.beneath | Resolve.noSymlinks
  return openat2(dir, name, { flags: O_PATH | constants.O_DIRECTORY, resolve })
}

/** The names in an open directory. @throws {SystemError} */
export function namesIn(dir: number): readonly string[] {
  return readdirSync(`/proc/self/fd/${dir}`, { encoding: 'buffer' }).map(fromBytes)
}

/** How a tree is removed. */
export interface TreeRemoval {
  /** Called for each name; throws to stop. */
  readonly check?: () => void
  /**
   * Where to begin when another thread removes the same tree at the same time and begins at the other
   * end: they meet somewhere, and what one of them still has open the other leaves to it.
   */
  readonly meeting?: 'first' | 'last'
}

/**
 * Removes `name` and all below it, following no link.
 *
 * @returns whether it is gone; without `meeting` it always is.
 * @throws {SystemError}
 */
export function removeTree(dir: number, name: string, removal: TreeRemoval = {}): boolean {
  removal.check?.()
  try {
    unlinkat(dir, name)
    return true
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return true
    if (!isErrno(err, 'EISDIR')) throw err
  }
  try {
    removeInside(openChild(dir, name), removal)
    unlinkat(dir, name, AT_REMOVEDIR)
  } catch (err) {
    if (removal.meeting && isErrno(err, 'ENOTEMPTY')) return false
    if (!isErrno(err, 'ENOENT')) throw err
  }
  return true
}

/** Removes all that is in a directory, and closes it. */
function removeInside(dir: number, removal: TreeRemoval): void {
  try {
    const names = namesIn(dir)
    for (const name of removal.meeting === 'last' ? names.toReversed() : names) {
      removeTree(dir, name, removal)
    }
  } finally {
    closeSync(dir)
  }
}
