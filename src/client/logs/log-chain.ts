import { type FileHandle, open, readFile, readdir, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { notFound } from '#lib/errors/errors.ts'
import { hasErrno } from '#lib/fs/has-errno.ts'

/** A file of a log as it is called now: `n` is 0 for the one that is written to. */
interface Member {
  readonly path: string
  readonly n: number
  readonly inode: string
}

/** How often names are looked at again that change meanwhile, at a distance in ms. */
const [tries, pauseMs] = [100, 2] as const
/** From which look on a missing number is one that a killed writer has left out. */
const settled = 10

/**
 * The files of one log, oldest first, while a writer may rotate them.
 *
 * Files are known by their inodes, which a reader keeps by having them open: their names change. A
 * writer that was killed may have left one file with two names.
 */
export class LogChain {
  readonly #path: string

  constructor(path: string) {
    this.#path = path
  }

  /** The file that is written to. @throws `not_found` */
  async newest(): Promise<FileHandle> {
    try {
      return await open(this.#path)
    } catch (err) {
      if (!hasErrno(err, 'ENOENT')) throw err
      throw notFound(`log ${this.#path}`, { cause: err })
    }
  }

  /** The oldest file there is. @throws `not_found` */
  async oldest(): Promise<FileHandle> {
    return (await this.#pick((members) => members.at(-1))) ?? (await this.newest())
  }

  /** The file after `file`; none when that is the newest. Files that went meanwhile are skipped. */
  async after(file: FileHandle): Promise<FileHandle | undefined> {
    const { inode, named } = await lookAt(file)
    return await this.#pick((members, look) => {
      const at = members.findIndex((each) => each.inode === inode)
      if (at < 0) return named ? 'again' : members.at(-1)
      const [next, own] = [members[at - 1], members[at]]
      const gap = next !== undefined && own !== undefined && own.n !== next.n + 1
      return gap && look < settled ? 'again' : next
    })
  }

  /** The file before `file`; none when that is the oldest, or has gone. */
  async before(file: FileHandle): Promise<FileHandle | undefined> {
    const { inode } = await lookAt(file)
    return await this.#pick((members) => {
      const at = members.findLastIndex((each) => each.inode === inode)
      return at < 0 ? undefined : members[at + 1]
    })
  }

  /**
   * Whether somebody writes to `file`: its writer has a lock on it, which the kernel tells without
   * taking it, and takes away when the writer is killed.
   */
  async isWritten(file: FileHandle): Promise<boolean> {
    const { inode } = await lookAt(file)
    const locks = await readFile('/proc/locks', 'latin1')
    return locks.split('\n').some((line) => {
      const [, kind, , mode, , where = ''] = line.split(/\s+/)
      return kind === 'FLOCK' && mode === 'WRITE' && where.endsWith(`:${inode}`)
    })
  }

  /** Opens the member that `choose` finds, looking again while names change. */
  async #pick(
    choose: (members: readonly Member[], look: number) => Member | 'again' | undefined,
  ): Promise<FileHandle | undefined> {
    for (let look = 0; look < tries; look += 1) {
      const members = await this.#members()
      const chosen = members ? choose(members, look) : 'again'
      if (chosen === undefined) return undefined
      const file = chosen === 'again' ? undefined : await openIf(chosen)
      if (file) return file
      await sleep(pauseMs)
    }
    throw new Error(`log ${this.#path} is rotated faster than it can be read`)
  }

  /** Newest first; `undefined` if one has another name by now. */
  async #members(): Promise<readonly Member[] | undefined> {
    const [dir, name] = [dirname(this.#path), basename(this.#path)]
    const numbers = (await filesIn(dir))
      .map((each) => (each === name ? 0 : numberOf(each, name)))
      .filter((n) => n !== undefined)
      .toSorted((a, b) => a - b)
    try {
      return await Promise.all(
        numbers.map(async (n) => {
          const path = n === 0 ? this.#path : join(dir, `${name}.${n}`)
          return { path, n, inode: String((await stat(path, { bigint: true })).ino) }
        }),
      )
    } catch (err) {
      if (hasErrno(err, 'ENOENT')) return undefined
      throw err
    }
  }
}

async function filesIn(dir: string): Promise<readonly string[]> {
  try {
    return await readdir(dir)
  } catch (err) {
    if (hasErrno(err, 'ENOENT')) return []
    throw err
  }
}

function numberOf(file: string, name: string): number | undefined {
  if (!file.startsWith(`${name}.`)) return undefined
  const suffix = file.slice(name.length + 1)
  return /^[1-9]\d*$/.test(suffix) ? Number(suffix) : undefined
}

/** What a file is known by, and whether it has a name still. */
async function lookAt(
  file: FileHandle,
): Promise<{ readonly inode: string; readonly named: boolean }> {
  const { ino, nlink } = await file.stat({ bigint: true })
  return { inode: String(ino), named: nlink > 0n }
}

async function openIf({ path, inode }: Member): Promise<FileHandle | undefined> {
  try {
    const file = await open(path)
    if ((await lookAt(file)).inode === inode) return file
    await file.close()
    return undefined
  } catch (err) {
    if (hasErrno(err, 'ENOENT')) return undefined
    throw err
  }
}
