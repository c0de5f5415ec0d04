import { isErrno } from '#sys/errno.ts'
import type { FileStat } from '#sys/stat.ts'

import type { Directories, Directory } from './directories.ts'
import { isDirectory, isSymlink } from './file-kind.ts'
import { lookAt, removeTree } from '#sys/tree.ts'

/** Puts new files where others may be. */
export class Replacer {
  readonly #directories: Directories

  constructor(directories: Directories) {
    this.#directories = directories
  }

  /** Runs `create`; when something is there already, removes that and runs it again. @throws {SystemError} */
  replacing<T>(dir: Directory, name: string, create: () => T): T {
    try {
      return create()
    } catch (err) {
      if (!isErrno(err, 'EEXIST')) throw err
    }
    this.remove(dir, name)
    return create()
  }

  /** Removes what is at `name`, with all below it. @returns what it was. @throws {SystemError} */
  remove(dir: Directory, name: string): FileStat | undefined {
    const stat = lookAt(dir.fd, name)
    if (!stat) return undefined
    removeTree(dir.fd, name)
    if (isDirectory(stat) || isSymlink(stat)) this.#directories.forget()
    return stat
  }
}
