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

/**
 * Removes `name` and all below it, following no link. `check` is called for each, and throws to stop.
 *
 * @throws {SystemError}
 */
export function removeTree(dir: number, name: string, check?: () => void): void {
  check?.()
  try {
    unlinkat(dir, name)
    return
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return
    if (!isErrno(err, 'EISDIR')) throw err
  }
  try {
    removeInside(openChild(dir, name), check)
    unlinkat(dir, name, AT_REMOVEDIR)
  } catch (err) {
    if (!isErrno(err, 'ENOENT')) throw err
  }
}

/** Removes all that is in a directory, and closes it. */
function removeInside(dir: number, check: (() => void) | undefined): void {
  try {
    for (const name of namesIn(dir)) removeTree(dir, name, check)
  } finally {
    closeSync(dir)
  }
}
