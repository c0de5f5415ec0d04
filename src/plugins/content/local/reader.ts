import { type FileHandle, open } from 'node:fs/promises'

import type { Reader } from '#core/content/content.ts'
import { notFound } from '#lib/errors/errors.ts'

import { isMissing } from './errno.ts'

/** A blob of the local store; it can be read to its end also when it is deleted meanwhile. */
export class LocalReader implements Reader {
  readonly size: number
  readonly #file: FileHandle

  private constructor(size: number, file: FileHandle) {
    this.size = size
    this.#file = file
  }

  /** Of the open file: a worker finds the blob there also when the collector has been faster. */
  get path(): string {
    return `/proc/self/fd/${this.#file.fd}`
  }

  /** @throws `not_found`. */
  static async open(digest: string, path: string): Promise<LocalReader> {
    await using undo = new AsyncDisposableStack()
    try {
      const file = undo.use(await open(path))
      const { size } = await file.stat()
      const reader = new LocalReader(size, file)
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
    let done = 0
    while (done < wanted) {
      const { bytesRead } = await this.#file.read(buffer, done, wanted - done, offset + done)
      if (bytesRead === 0) break
      done += bytesRead
    }
    return buffer.subarray(0, done)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close()
  }
}
