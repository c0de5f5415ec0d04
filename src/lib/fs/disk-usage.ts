import { lstatSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { setImmediate as nextTurn } from 'node:timers/promises'

import { hasErrno } from './has-errno.ts'

/** What a tree takes up. */
export interface DiskUsage {
  /** Files of any kind; one with several names counts once. */
  readonly inodes: number
  /** Bytes of the blocks in use. */
  readonly size: number
}

const blockSize = 512
const separator = Buffer.from('/')

/** For how long entries are looked at in one go, in ms. */
const turn = 2

/**
 * Adds up `root` and everything below it, without following symbolic links. What disappears
 * meanwhile is not counted.
 */
export async function diskUsage(
  root: string,
  options: { readonly signal?: AbortSignal } = {},
): Promise<DiskUsage> {
  const linked = new Set<string>()
  let inodes = 0
  let size = 0
  const count = (path: Buffer): void => {
    const stat = lstatSync(path, { throwIfNoEntry: false })
    if (!stat || (stat.nlink > 1 && !stat.isDirectory() && !isFirst(linked, path))) return
    inodes++
    size += stat.blocks * blockSize
  }

  count(Buffer.from(root))
  const dirs = [Buffer.from(root)]
  let began = performance.now()
  for (let dir = dirs.pop(); dir; dir = dirs.pop()) {
    for (const entry of await entriesOf(dir)) {
      if (performance.now() - began > turn) {
        await nextTurn()
        options.signal?.throwIfAborted()
        began = performance.now()
      }
      const path = Buffer.concat([dir, separator, entry.name])
      count(path)
      if (entry.isDirectory()) dirs.push(path)
    }
    began = performance.now()
  }
  return { inodes, size }
}

/** Whether no other name of the file was seen before. Inode numbers may need all of 64 bits. */
function isFirst(seen: Set<string>, path: Buffer): boolean {
  const stat = lstatSync(path, { bigint: true, throwIfNoEntry: false })
  const file = stat ? `${stat.dev}:${stat.ino}` : ''
  return stat !== undefined && !seen.has(file) && Boolean(seen.add(file))
}

async function entriesOf(
  dir: Buffer,
): Promise<readonly { readonly name: Buffer; isDirectory(): boolean }[]> {
  try {
    return await readdir(dir, { withFileTypes: true, encoding: 'buffer' })
  } catch (err) {
    if (hasErrno(err, 'ENOENT', 'ENOTDIR')) return []
    throw err
  }
}
