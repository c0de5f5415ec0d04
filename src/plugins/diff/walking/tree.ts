import { closeSync, constants, readdirSync } from 'node:fs'

import { fromBytes } from '#lib/bytes/byte-string.ts'
import { isErrno } from '#sys/errno.ts'
import { readlinkat } from '#sys/file.ts'
import { openat2, Resolve } from '#sys/openat2.ts'
import { type FileStat, fstatat } from '#sys/stat.ts'
import { lgetxattr } from '#sys/xattr.ts'

/** A file met on a walk, by its name in an open directory: no link that comes up meanwhile leads elsewhere. */
export interface Node {
  /** The open directory it is in. */
  readonly dir: number
  readonly name: string
  /** From the root of the walk, without a slash before it. */
  readonly path: string
  readonly stat: FileStat
}

/** The files in the open directory `dir`, sorted by the bytes of their names. @throws {SystemError} */
export function nodesIn(dir: number, path: string): readonly Node[] {
  const names = readdirSync(`/proc/self/fd/${dir}`, { encoding: 'buffer' })
  return names
    .toSorted((a, b) => Buffer.compare(a, b))
    .flatMap((bytes) => {
      const name = fromBytes(bytes)
      try {
        const stat = fstatat(dir, name)
        return [{ dir, name, path: path === '' ? name : `${path}/${name}`, stat }]
      } catch (err) {
        // Gone since it was listed: the tree is in use.
        if (isErrno(err, 'ENOENT')) return []
        throw err
      }
    })
}

/** Opens a file for reading; what came in its place, a link or a pipe, is not opened. @throws {SystemError} */
export function openFile(node: Node): number {
  return openat2(node.dir, node.name, {
    flags: constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY,
    resolve: Resolve.beneath | Resolve.noSymlinks,
  })
}

/** What a link points to. @throws {SystemError} */
export const readLink = (node: Node): string => fromBytes(readlinkat(node.dir, node.name))

/** The capabilities of a file, `undefined` for none. @throws {SystemError} */
export function capabilityOf({ dir, name }: Node): Uint8Array | undefined {
  try {
    return lgetxattr(`/proc/self/fd/${dir}/${name}`, 'security.capability')
  } catch (err) {
    if (isErrno(err, 'ENOTSUP')) return undefined
    throw err
  }
}

/** Gives `use` an open directory and closes it. */
export function* withOpen<T>(fd: number, use: (fd: number) => Generator<T>): Generator<T> {
  try {
    yield* use(fd)
  } finally {
    closeSync(fd)
  }
}
