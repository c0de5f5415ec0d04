import { type FileHandle, open, readFile, stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

import { notFound } from '#lib/errors/errors.ts'
import { hasErrno } from '#lib/fs/has-errno.ts'

/** A file of a log as it is called now. */
interface Member {
  readonly path: string
  readonly inode: string
}

/** How often names are looked at again that change meanwhile, at a distance in ms. */
const [tries, pauseMs] = [100, 2] as const

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
    if ((await this.#member(0))?.inode === inode) return undefined
    return await this.#pick((members) => {
      const at = members.findIndex((each) => each.inode === inode)
      if (at >= 0) return members[at - 1]
      return named ? 'again' : members.at(-1)
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
    choose: (members: readonly Member[]) => Member | 'again' | undefined,
  ): Promise<FileHandle | undefined> {
    for (let look = 0; look < tries; look += 1) {
      const chosen = choose(await this.#members())
      if (chosen === undefined) return undefined
      const file = chosen === 'again' ? undefined : await openIf(chosen)
      if (file) return file
      await sleep(pauseMs)
    }
    throw new Error(`log ${this.#path} is rotated faster than it can be read`)
  }

  /**
   * Newest first. Names are looked at in the order in which files go from one to the next, so none
   * is missed; one that moves meanwhile is there twice. One name may be missing: of a file that just
   * moves, or at which a writer was killed.
   */
  async #members(): Promise<readonly Member[]> {
    const members: Member[] = []
    for (let n = 0, missing = 0; missing < 2; n += 1) {
      const member = await this.#member(n)
      if (member) members.push(member)
      missing = member ? 0 : missing + 1
    }
    return members
  }

  async #member(n: number): Promise<Member | undefined> {
    const path = n === 0 ? this.#path : `${this.#path}.${n}`
    try {
      return { path, inode: String((await stat(path, { bigint: true })).ino) }
    } catch (err) {
      if (hasErrno(err, 'ENOENT')) return undefined
      throw err
    }
  }
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
