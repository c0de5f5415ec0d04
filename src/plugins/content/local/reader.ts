import * as fs from 'node:fs'
import { promisify } from 'node:util'

import type { Reader } from '#core/content/content.ts'
import { notFound } from '#lib/errors/errors.ts'
import { readNow } from '#sys/read-now.ts'

import { isMissing } from './errno.ts'

const readLater = promisify(fs.read)

/**
 * A blob of the local store; it can be read to its end also when it is deleted meanwhile.
 *
 * What is in the page cache is read on this thread, which takes less than the trip through the thread
 * pool and back: clients ask for 32 KiB at a time, each with an open, a read and a close.
 */
export class LocalReader implements Reader {
  readonly size: number
  readonly #fd: number
  /** Reads that the thread pool has, which must not find another file under this number. */
  readonly #pending = new Set<Promise<unknown>>()
  #closed = false

  private constructor(size: number, fd: number) {
    this.size = size
    this.#fd = fd
  }

  /** Of the open file: a worker finds the blob there also when the collector has been faster. */
  get path(): string {
    return `/proc/self/fd/${this.#fd}`
  }

  /** @throws `not_found`. */
  static open(digest: string, path: string): LocalReader {
    try {
      using undo = new DisposableStack()
      const fd = undo.adopt(fs.openSync(path, 'r'), (open) => fs.closeSync(open))
      const reader = new LocalReader(fs.fstatSync(fd).size, fd)
      undo.move()
      return reader
    } catch (err) {
      if (!isMissing(err)) throw err
      throw notFound(`blob ${digest} expected at ${path}: blob not found`, { cause: err })
    }
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const wanted = Math.max(0, Math.min(length, this.size - offset))
    const buffer = Buffer.allocUnsafeSlow(wanted)
    return buffer.subarray(0, await this.readInto(offset, buffer))
  }

  async readInto(offset: number, buffer: Uint8Array): Promise<number> {
    let done = 0
    while (done < buffer.length) {
      const rest = buffer.subarray(done)
      const read =
        readNow(this.#open(), rest, offset + done) ?? (await this.#later(rest, offset + done))
      if (read === 0) break
      done += read
    }
    return done
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    if (this.#pending.size > 0) await Promise.allSettled(this.#pending)
    fs.closeSync(this.#fd)
  }

  async #later(buffer: Uint8Array, offset: number): Promise<number> {
    const reading = readLater(this.#open(), buffer, 0, buffer.length, offset)
    this.#pending.add(reading)
    try {
      return (await reading).bytesRead
    } finally {
      this.#pending.delete(reading)
    }
  }

  #open(): number {
    if (this.#closed) throw new Error('the reader is closed')
    return this.#fd
  }
}
