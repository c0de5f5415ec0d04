import { closeSync, fsyncSync, openSync } from 'node:fs'
import { mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'

import { isMissing } from './errno.ts'

/** The directories that blobs are moved into. */
export class BlobDirs {
  readonly #dirs = new Map<string, Promise<BlobDir>>()

  /** Makes `path`, durably, unless it is there. */
  async open(path: string): Promise<BlobDir> {
    const opened = this.#dirs.get(path) ?? makeDir(path)
    this.#dirs.set(path, opened)
    try {
      return await opened
    } catch (err) {
      this.#dirs.delete(path)
      throw err
    }
  }
}

/**
 * One of them. A flush makes the entries of everybody durable who asked for it before it began: at
 * many commits at once the disk decides how many flushes there are.
 */
export class BlobDir {
  readonly #path: string
  #running: Promise<void> | undefined
  #next: Promise<void> | undefined

  constructor(path: string) {
    this.#path = path
  }

  /** Resolves when what the directory has now is on disk. */
  async sync(): Promise<void> {
    // The flush under way may have begun too early; the one after it serves all who wait by then.
    this.#next ??= this.#syncAfter(this.#running)
    await this.#next
  }

  async #syncAfter(running: Promise<void> | undefined): Promise<void> {
    await running?.catch(() => {}) // Its own callers hear of that.
    this.#running = this.#next
    this.#next = undefined
    await syncDir(this.#path)
  }
}

async function makeDir(path: string): Promise<BlobDir> {
  const first = await mkdir(path, { recursive: true, mode: 0o755 })
  if (first !== undefined) {
    for (let dir = path; dir.length >= first.length; dir = dirname(dir)) await syncDir(dirname(dir))
  }
  return new BlobDir(path)
}

async function syncDir(path: string): Promise<void> {
  await using dir = await open(path)
  await dir.sync()
}

/** Makes durable what `path` has, if there is such a directory. */
export function syncDirIfAny(path: string): void {
  try {
    const fd = openSync(path, 'r')
    try {
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
  } catch (err) {
    if (!isMissing(err)) throw err
  }
}
