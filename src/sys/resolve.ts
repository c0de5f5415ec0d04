import { closeSync, constants, openSync, readlinkSync } from 'node:fs'

import { openat2, Resolve } from './openat2.ts'

/** O_PATH: a handle that names a file without opening it; the same on every architecture. */
export const O_PATH = 0o10000000

/** An O_PATH handle of a directory, for the `*at` functions. The caller closes it. @throws {SystemError} */
export function openRoot(path: string): number {
  return openSync(path, O_PATH | constants.O_DIRECTORY)
}

/**
 * The real path of `path` inside `root`, where `root` is what `/` means to its symbolic links.
 *
 * @throws {SystemError} `ENOENT` when nothing is there.
 */
export function resolveInRoot(root: string, path: string): string {
  const dir = openRoot(root)
  try {
    const fd = openat2(dir, path, { flags: O_PATH, resolve: Resolve.inRoot })
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } finally {
      closeSync(fd)
    }
  } finally {
    closeSync(dir)
  }
}
