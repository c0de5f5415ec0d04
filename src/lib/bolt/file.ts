import * as fs from 'node:fs'
import { promisify } from 'node:util'

import { fullDisk } from '#lib/fs/full-disk.ts'

/** The few things a database does to its file. Tests put a failing or a recording one in its place. */
export interface BoltFile {
  readonly path: string
  size(): number
  /** Fills `buf` from `position`; what lies beyond the end of the file reads as nothing. */
  read(buf: Buffer, position: number): number
  write(buf: Buffer, position: number): Promise<void>
  /** Makes the file longer. */
  truncate(size: number): Promise<void>
  /** Returns when everything written is on disk. `alone` says that one caller waits, and no more. */
  sync(alone: boolean): Promise<void>
  close(): void
}

const write = promisify(fs.write)
const truncate = promisify(fs.ftruncate)
const fdatasync = promisify(fs.fdatasync)

/**
 * Up to this many bytes a write is a copy into the page cache that costs less than a trip through
 * the thread pool (measured: 3 µs for 4 KiB, against 80 µs).
 */
const inlineWrite = 128 * 1024

/**
 * A lone writer that writes again and again is served by `fdatasync` on this thread, as long as
 * the disk answers within this time, in ms: the trip through the thread pool costs as much as the
 * sync itself (measured: 0.12 ms here, 0.21 ms there), and nobody is kept waiting.
 */
const inlineSync = 1

/** What the slowest sync counts for after one more. */
const forgetting = 0.9

/** What a sync counts for when the disk is not known, in ms: some forty fast ones prove it. */
const unknownSync = 50

/** After this many ms without a sync the disk is not known any more. */
const lately = 100

/** The file of `fd`, by positional reads and writes. Its errors carry `path`. */
export class FdFile implements BoltFile {
  readonly path: string
  readonly #fd: number
  #slowestSync = unknownSync
  #lastSync = 0

  constructor(fd: number, path: string) {
    this.#fd = fd
    this.path = path
  }

  size(): number {
    return fs.fstatSync(this.#fd).size
  }

  read(buf: Buffer, position: number): number {
    let done = 0
    try {
      while (done < buf.length) {
        const n = fs.readSync(this.#fd, buf, done, buf.length - done, position + done)
        if (n === 0) break
        done += n
      }
    } catch (err) {
      throw named(err, this.path)
    }
    return done
  }

  async write(buf: Buffer, position: number): Promise<void> {
    let done = 0
    try {
      while (done < buf.length) {
        const left = buf.length - done
        done +=
          left <= inlineWrite
            ? fs.writeSync(this.#fd, buf, done, left, position + done)
            : (await write(this.#fd, buf, done, left, position + done)).bytesWritten
      }
    } catch (err) {
      throw named(err, this.path)
    }
  }

  async truncate(size: number): Promise<void> {
    await truncate(this.#fd, size).catch((err: unknown) => {
      throw named(err, this.path)
    })
  }

  async sync(alone: boolean): Promise<void> {
    const start = performance.now()
    if (start - this.#lastSync > lately) this.#slowestSync = unknownSync
    try {
      if (alone && this.#slowestSync < inlineSync) fs.fdatasyncSync(this.#fd)
      else await fdatasync(this.#fd)
    } catch (err) {
      throw named(err, this.path)
    }
    this.#lastSync = performance.now()
    this.#slowestSync = Math.max(this.#lastSync - start, this.#slowestSync * forgetting)
  }

  close(): void {
    fs.closeSync(this.#fd)
  }
}

/** Puts `path` into a system error that came from a file descriptor, as Node does for paths. */
function named(err: unknown, path: string): unknown {
  if (err instanceof Error && !('path' in err)) {
    err.message += ` '${path}'`
    Object.assign(err, { path })
  }
  return fullDisk(err, path)
}
