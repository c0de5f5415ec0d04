import { lstat, open, readdir } from 'node:fs/promises'

import { hasErrno } from '#lib/fs/has-errno.ts'

/** The names in a directory, sorted; none when there is no such directory. */
export async function listDirectory(path: string): Promise<readonly string[]> {
  try {
    return (await readdir(path)).toSorted()
  } catch (err) {
    if (hasErrno(err, 'ENOENT', 'ENOTDIR')) return []
    throw err
  }
}

/** What is at `path`, following no link at its end. */
export async function kindOf(path: string): Promise<'file' | 'directory' | 'other' | 'nothing'> {
  try {
    const stat = await lstat(path)
    if (stat.isFile()) return 'file'
    return stat.isDirectory() ? 'directory' : 'other'
  } catch (err) {
    if (hasErrno(err, 'ENOENT', 'ENOTDIR')) return 'nothing'
    throw err
  }
}

/** Returns when the names in a directory are on disk. */
export async function syncDirectory(path: string): Promise<void> {
  await using dir = await open(path)
  await dir.sync()
}
