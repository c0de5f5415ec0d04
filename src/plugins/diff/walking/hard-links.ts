import { closeSync, constants } from 'node:fs'
import { posix } from 'node:path'

import type { Entry } from '#lib/tar/entry.ts'
import { systemError } from '#sys/errno.ts'
import { linkat } from '#sys/file.ts'
import { openat2, Resolve } from '#sys/openat2.ts'
import { O_PATH, openRoot } from '#sys/resolve.ts'

import { cleanPath, type Directories, type Directory, dirname } from './directories.ts'
import { isWhiteout } from './file-kind.ts'
import { type LowerLayers } from './lower-layers.ts'
import { lookAt, removeTree } from '#sys/tree.ts'
import type { Replacer } from './replace.ts'

const EPERM = 1
const ENOENT = 2

/**
 * Gives files second names: files of this layer, and where the layers below are at hand, files of
 * theirs, which are copied up by that. A symbolic link gets the second name itself.
 */
export class HardLinks {
  readonly #directories: Directories
  readonly #replacer: Replacer
  readonly #lowers: LowerLayers

  constructor(directories: Directories, replacer: Replacer, lowers: LowerLayers) {
    this.#directories = directories
    this.#replacer = replacer
    this.#lowers = lowers
  }

  /** @throws {SystemError} `ENOENT` for what is not there or deleted; `failed_precondition` (`LowerLayers`). */
  make(dir: Directory, name: string, entry: Entry): void {
    const target = cleanPath(entry.linkName)
    const operands = { path: entry.linkName, dest: entry.name }
    if (target === '') throw systemError(EPERM, 'linkat', operands)
    const from = this.#directories.find(dirname(target))
    const base = posix.basename(target)
    const stat = from && lookAt(from.fd, base)
    const deleted = stat !== undefined && this.#lowers.separate && isWhiteout(stat)
    if (from && stat && !deleted) {
      this.#replacer.replacing(dir, name, () => linkat(from.fd, base, dir.fd, name))
      return
    }
    using whole = deleted ? undefined : this.#lowers.mounted(`"${entry.linkName}" for a hard link`)
    if (!whole) throw systemError(ENOENT, 'linkat', operands)
    linkInside(whole.path, target, dir.path, name)
    this.#directories.forget()
  }
}

/** In the file system at `root`: makes `name` in the directory `to` a second name of `target`. */
function linkInside(root: string, target: string, to: string, name: string): void {
  using stack = new DisposableStack()
  const top = stack.adopt(openRoot(root), closeSync)
  const open = (path: string): number => {
    const flags = O_PATH | constants.O_DIRECTORY
    const fd = openat2(top, path || '.', { flags, resolve: Resolve.inRoot })
    return stack.adopt(fd, closeSync)
  }
  const [from, into] = [open(dirname(target)), open(to)]
  const base = posix.basename(target)
  if (!lookAt(from, base)) throw systemError(ENOENT, 'linkat', { path: target, dest: name })
  removeTree(into, name)
  linkat(from, base, into, name)
}
