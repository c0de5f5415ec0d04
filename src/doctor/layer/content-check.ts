import { closeSync, constants, fstatSync, readSync } from 'node:fs'

import { isErrno } from '#sys/errno.ts'
import { openat2, Resolve } from '#sys/openat2.ts'

import type { PlacedFile } from './expected-tree.ts'

const bufferSize = 256 * 1024

/**
 * Compares a file on disk with what an archive has of it, piece by piece as the pieces come. The file
 * is opened without following links, and only read when it is one: what else it may be, and its size,
 * is for whoever looks at names and attributes.
 */
export class ContentCheck implements Disposable {
  readonly #placed: PlacedFile
  readonly #buffer: Buffer
  #fd: number | undefined
  #at = 0

  private constructor(placed: PlacedFile, fd: number | undefined, buffer: Buffer) {
    this.#placed = placed
    this.#fd = fd
    this.#buffer = buffer
  }

  /** @param root - The directory the layer is in, open. @throws {SystemError} */
  static begin(root: number, placed: PlacedFile, buffer: Buffer): ContentCheck {
    return new ContentCheck(placed, openRegular(root, placed), buffer)
  }

  static newBuffer(): Buffer {
    return Buffer.allocUnsafeSlow(bufferSize)
  }

  /** @throws {SystemError} when the file cannot be read, `EIO` for instance: that is no difference. */
  data(bytes: Uint8Array, offset: number): void {
    this.#expectZeros(offset)
    for (let done = 0; done < bytes.length && this.#fd !== undefined; ) {
      const want = bytes.subarray(done, done + bufferSize)
      const got = this.#read(want.length)
      if (got.compare(want) !== 0) this.#differs(this.#at + firstDifference(got, want))
      done += want.length
      this.#at += want.length
    }
  }

  end(): void {
    this.#expectZeros(this.#placed.file.size)
    this[Symbol.dispose]()
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) closeSync(this.#fd)
    this.#fd = undefined
  }

  /** A hole of a sparse file reads as zeros. */
  #expectZeros(to: number): void {
    while (this.#at < to && this.#fd !== undefined) {
      const got = this.#read(Math.min(bufferSize, to - this.#at))
      const first = got.findIndex((byte) => byte !== 0)
      if (first >= 0) this.#differs(this.#at + first)
      this.#at += got.length
    }
  }

  /** The next bytes of the file; its size was looked at, so that there are as many. */
  #read(length: number): Buffer {
    const into = this.#buffer.subarray(0, length)
    let done = 0
    while (done < length && this.#fd !== undefined) {
      const count = readSync(this.#fd, into, done, length - done, this.#at + done)
      if (count === 0) break
      done += count
    }
    return into.fill(0, done)
  }

  #differs(at: number): void {
    this.#placed.file.difference = `other content from byte ${at} on`
    this[Symbol.dispose]()
  }
}

function openRegular(root: number, { file, path }: PlacedFile): number | undefined {
  const fd = open(root, path)
  if (fd === undefined) return undefined
  const stat = fstatSync(fd)
  if (stat.isFile() && stat.size === file.size) return fd
  closeSync(fd)
  return undefined
}

function open(root: number, path: string): number | undefined {
  const { O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants
  try {
    return openat2(root, path, {
      flags: O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW,
      resolve: Resolve.beneath | Resolve.noSymlinks,
    })
  } catch (err) {
    // Something else is there, or nothing: the walk over the names says so.
    if (isErrno(err, 'ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO', 'ENODEV')) return undefined
    throw err
  }
}

function firstDifference(a: Uint8Array, b: Uint8Array): number {
  const at = a.findIndex((byte, index) => byte !== b[index])
  return Math.max(at, 0)
}
