import { constants, type Dirent } from 'node:fs'
import { open, readdir, rmdir, unlink } from 'node:fs/promises'

import { hasErrno } from './has-errno.ts'

/** Files of one directory that are removed at once. */
const width = 16

export interface RemoveOptions {
  readonly signal?: AbortSignal
  /** How many names to remove; a tree of more is left half removed. As many as there are unless given. */
  readonly most?: number
}

/**
 * Removes `path` and everything below it; nothing happens when it is missing.
 *
 * Each directory is held open while its entries are removed by name in it (`/proc/self/fd`), so that
 * nobody who still writes to the tree can lead this out of it with a symbolic link. Names need not
 * be UTF-8. The thread is not blocked.
 *
 * @returns whether all of it is gone.
 */
export async function removeTree(
  path: string | Buffer,
  { signal, most = Infinity }: RemoveOptions = {},
): Promise<boolean> {
  const bytes = Buffer.from(path)
  if ((await removeFile(bytes)) === 'gone') return true
  return await removeDirectory(bytes, { signal, left: most })
}

/** What is known of a tree while it is removed. */
interface Removal {
  readonly signal: AbortSignal | undefined
  /** How many names may still be removed. */
  left: number
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

/** Removes an empty directory, as most of a container are, or says that it is not empty. */
async function removeEmpty(path: Buffer): Promise<'gone' | 'directory'> {
  try {
    await rmdir(path)
  } catch (err) {
    if (hasErrno(err, 'ENOTEMPTY', 'EEXIST')) return 'directory'
    if (!hasErrno(err, 'ENOENT')) throw err
  }
  return 'gone'
}

/** Holds one descriptor for each level of the tree. */
async function removeDirectory(path: Buffer, removal: Removal): Promise<boolean> {
  const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants
  try {
    await using dir = await open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
    const inside = Buffer.from(`/proc/self/fd/${dir.fd}/`)
    const entries = await readdir(inside, { encoding: 'buffer', withFileTypes: true })
    removal.left -= entries.length
    if (removal.left < 0) return false
    for (const name of await removeFiles(inside, entries, removal.signal)) {
      if (!(await removeDirectory(Buffer.concat([inside, name]), removal))) return false
    }
    await rmdir(path)
  } catch (err) {
    if (!hasErrno(err, 'ENOENT')) throw err
  }
  return true
}

/** Removes what is no directory, or an empty one, and gives the names of the others. */
async function removeFiles(
  dir: Buffer,
  entries: readonly Dirent<Buffer>[],
  signal: AbortSignal | undefined,
): Promise<readonly Buffer[]> {
  const directories: Buffer[] = []
  const next = entries.values()
  const worker = async (): Promise<void> => {
    for (const entry of next) {
      signal?.throwIfAborted()
      const path = Buffer.concat([dir, entry.name])
      const kind = entry.isDirectory() ? await removeEmpty(path) : await removeFile(path)
      if (kind === 'directory') directories.push(entry.name)
    }
  }
  const workers = Array.from({ length: Math.min(width, entries.length) }, worker)
  for (const result of await Promise.allSettled(workers)) {
    if (result.status === 'rejected') throw result.reason
  }
  return directories
}
