import { constants } from 'node:fs'
import { open, readdir, rmdir, unlink } from 'node:fs/promises'

import { hasErrno } from './has-errno.ts'

/** Files of one directory that are removed at once. */
const width = 16

/**
 * Removes `path` and everything below it; nothing happens when it is missing.
 *
 * Each directory is held open while its entries are removed by name in it (`/proc/self/fd`), so that
 * nobody who still writes to the tree can lead this out of it with a symbolic link. Names need not
 * be UTF-8. The thread is not blocked.
 */
export async function removeTree(
  path: string | Buffer,
  options: { readonly signal?: AbortSignal } = {},
): Promise<void> {
  const bytes = Buffer.from(path)
  if ((await removeFile(bytes)) === 'directory') await removeDirectory(bytes, options.signal)
}

/** Removes one name, or says that it is a directory's. */
async function removeFile(path: Buffer): Promise<'gone' | 'directory'> {
  try {
    await unlink(path)
  } catch (err) {
    if (hasErrno(err, 'EISDIR')) return 'directory'
    if (!hasErrno(err, 'ENOENT')) throw err
  }
  return 'gone'
}

/** Holds one descriptor for each level of the tree. */
async function removeDirectory(path: Buffer, signal: AbortSignal | undefined): Promise<void> {
  const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants
  try {
    await using dir = await open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
    const inside = Buffer.from(`/proc/self/fd/${dir.fd}/`)
    for (const name of await removeFiles(inside, signal)) {
      await removeDirectory(Buffer.concat([inside, name]), signal)
    }
    await rmdir(path)
  } catch (err) {
    if (!hasErrno(err, 'ENOENT')) throw err
  }
}

/** Removes what is no directory, and gives the names of what is. */
async function removeFiles(
  dir: Buffer,
  signal: AbortSignal | undefined,
): Promise<readonly Buffer[]> {
  const directories: Buffer[] = []
  const entries = await readdir(dir, { encoding: 'buffer', withFileTypes: true })
  const next = entries.values()
  const worker = async (): Promise<void> => {
    for (const entry of next) {
      signal?.throwIfAborted()
      const known = entry.isDirectory()
      const kind = known ? 'directory' : await removeFile(Buffer.concat([dir, entry.name]))
      if (kind === 'directory') directories.push(entry.name)
    }
  }
  const workers = Array.from({ length: Math.min(width, entries.length) }, worker)
  for (const result of await Promise.allSettled(workers)) {
    if (result.status === 'rejected') throw result.reason
  }
  return directories
}
