import { closeSync, openSync, readSync, realpathSync, statSync } from 'node:fs'
import { basename, delimiter, isAbsolute, join } from 'node:path'

import { sealedCopy } from '#sys/memfd.ts'

/** How long a copy that nobody uses is kept, ms. */
const keptMs = 30_000
/** The runtimes that look whether they are sealed. Source: `cloned_binary.c` of runc, and of crun. */
const known: ReadonlySet<string> = new Set(['runc', 'crun'])

interface Copy {
  /** Which file it is of: another one, or a changed one, has another stamp. */
  readonly stamp: string
  /** `undefined` when there can be none. */
  readonly fd: Promise<number | undefined>
  timer?: NodeJS.Timeout
}

/**
 * Copies of OCI runtimes that cannot be written to.
 *
 * A runtime that enters a container protects its own file from that: unless it is sealed, it copies
 * or mounts itself each time. One copy for many runs saves that. It is made of the file as it is
 * now, and given up when it was not used for a while.
 */
export class SealedPrograms implements Disposable {
  readonly #copies = new Map<string, Copy>()

  /**
   * What to execute in place of `binary`, a path or a name to look up in `path`, right now;
   * `undefined` when that is `binary` itself.
   */
  async find(
    binary: string,
    path: string = process.env['PATH'] ?? '',
  ): Promise<string | undefined> {
    const file = locate(binary, path)
    if (file === undefined) return undefined
    const fd = await this.#copyOf(file).fd
    return fd === undefined ? undefined : `/proc/self/fd/${fd}`
  }

  /** None is used any more: this machine does not execute them. */
  [Symbol.dispose](): void {
    for (const file of this.#copies.keys()) this.#drop(file)
  }

  #copyOf(file: string): Copy {
    const stamp = stampOf(file)
    let copy = this.#copies.get(file)
    if (copy?.stamp !== stamp) {
      this.#drop(file)
      copy = { stamp, fd: copyUnchanged(file, stamp) }
      this.#copies.set(file, copy)
    }
    clearTimeout(copy.timer)
    copy.timer = setTimeout(() => this.#drop(file), keptMs).unref()
    return copy
  }

  #drop(file: string): void {
    const copy = this.#copies.get(file)
    if (!copy) return
    this.#copies.delete(file)
    clearTimeout(copy.timer)
    // Whoever has just found it executes it first.
    void copy.fd.then((fd) => fd !== undefined && setImmediate(() => closeSync(fd)))
  }
}

function locate(binary: string, path: string): string | undefined {
  const places = isAbsolute(binary)
    ? [binary]
    : path.split(delimiter).map((dir) => join(dir, binary))
  const found = places.find((place) => statSync(place, { throwIfNoEntry: false })?.isFile())
  const file = found === undefined ? undefined : realpathSync(found)
  return file !== undefined && known.has(basename(file)) ? file : undefined
}

function stampOf(file: string): string {
  const { dev, ino, size, mtimeMs, ctimeMs } = statSync(file)
  return [dev, ino, size, mtimeMs, ctimeMs].join()
}

/** Without a copy things are slower, and work as well. */
async function copyUnchanged(file: string, stamp: string): Promise<number | undefined> {
  try {
    if (!isElf(file)) return undefined
    const fd = await sealedCopy(file, basename(file))
    if (stampOf(file) === stamp) return fd
    closeSync(fd)
    return undefined
  } catch {
    return undefined
  }
}

/** A script would be read again by its interpreter, when the descriptor is closed. */
function isElf(file: string): boolean {
  const fd = openSync(file, 'r')
  try {
    const magic = Buffer.alloc(4)
    readSync(fd, magic)
    return magic.toString('latin1') === '\x7fELF'
  } finally {
    closeSync(fd)
  }
}
