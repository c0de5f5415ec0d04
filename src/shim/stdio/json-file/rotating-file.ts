import {
  closeSync,
  constants,
  fstatSync,
  linkSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'

import type { JsonFileTarget } from '#core/logs/json-file.ts'
import { failedPrecondition, invalidArgument } from '#lib/errors/errors.ts'
import { isErrno } from '#sys/errno.ts'
import { tryLock } from '#sys/flock.ts'

const { O_RDWR, O_APPEND, O_CREAT, O_EXCL, O_NONBLOCK } = constants
const newline = 10

/**
 * A log that begins a new file when the one it has is full. What the files are called, and who may
 * count on what, is drawn in `#core/logs/json-file.ts`.
 */
export class RotatingFile implements Disposable {
  readonly #target: JsonFileTarget
  #fd: number
  #size: number
  /** Whether what was written last ends in the middle of a line. */
  #torn: boolean

  /**
   * Goes on with what is there.
   *
   * @throws `failed_precondition` while somebody else writes to it; `invalid_argument` for what is
   *   no file; {SystemError}
   */
  constructor(target: JsonFileTarget) {
    mkdirSync(dirname(target.path), { recursive: true, mode: 0o755 })
    this.#target = target
    this.#fd = openLocked(target.path, O_CREAT)
    this.#size = fstatSync(this.#fd).size
    this.#torn = this.#size > 0 && lastByte(this.#fd, this.#size) !== newline
  }

  /** Appends lines that end with a newline each. @throws {SystemError} when some were not written. */
  write(lines: readonly string[]): void {
    let batch: Buffer[] = this.#torn ? [Buffer.of(newline)] : []
    let size = this.#size + batch.length
    for (const line of lines) {
      const bytes = Buffer.from(line)
      if (this.#isFull(size, bytes.length)) {
        this.#append(batch)
        this.#rotate()
        batch = []
        size = 0
      }
      batch.push(bytes)
      size += bytes.length
    }
    this.#append(batch)
  }

  [Symbol.dispose](): void {
    if (this.#fd >= 0) closeSync(this.#fd)
    this.#fd = -1
  }

  #isFull(size: number, more: number): boolean {
    const { maxSize } = this.#target
    return maxSize >= 0 && size > 0 && size + more > maxSize
  }

  #append(batch: readonly Buffer[]): void {
    let rest = Buffer.concat(batch)
    while (rest.length > 0) {
      const written = writeSync(this.#fd, rest)
      this.#size += written
      this.#torn = rest[written - 1] !== newline
      rest = rest.subarray(written)
    }
  }

  /** The new file has its lock before it has its name, and there is no moment without that name. */
  #rotate(): void {
    const { path, maxFile } = this.#target
    const next = `${path}.next`
    rmSync(next, { force: true })
    const fd = openLocked(next, O_CREAT | O_EXCL)
    try {
      for (let n = maxFile - 2; n >= 1; n -= 1) renameIfThere(`${path}.${n}`, `${path}.${n + 1}`)
      if (maxFile > 1) linkOver(path, `${path}.1`)
      renameSync(next, path)
    } catch (err) {
      closeSync(fd)
      rmSync(next, { force: true })
      throw err
    }
    closeSync(this.#fd)
    this.#fd = fd
    this.#size = 0
    this.#torn = false
  }
}

/** Opens a file to append to, as its only writer. It could be a FIFO, which must not be waited for. */
function openLocked(path: string, flags: number): number {
  const fd = openSync(path, O_RDWR | O_APPEND | O_NONBLOCK | flags, 0o640)
  try {
    if (!fstatSync(fd).isFile()) throw invalidArgument(`log ${path} is not a regular file`)
    if (!tryLock(fd, true)) throw failedPrecondition(`log ${path} is written to by somebody else`)
    return fd
  } catch (err) {
    closeSync(fd)
    throw err
  }
}

function lastByte(fd: number, size: number): number | undefined {
  const buffer = Buffer.alloc(1)
  return readSync(fd, buffer, 0, 1, size - 1) === 1 ? buffer[0] : undefined
}

function renameIfThere(from: string, to: string): void {
  try {
    renameSync(from, to)
  } catch (err) {
    if (!isErrno(err, 'ENOENT')) throw err
  }
}

/** A name that a killed writer has left goes. */
function linkOver(path: string, name: string): void {
  rmSync(name, { force: true })
  linkSync(path, name)
}
