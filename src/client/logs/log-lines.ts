import type { FileHandle } from 'node:fs/promises'

const chunkBytes = 64 * 1024
/** No entry is nearly as long: what is longer is no line of a log. */
const maxLineBytes = 1024 * 1024
const newline = 10

/** The whole lines of one file of a log, as they come. */
export class LogLines {
  readonly #file: FileHandle
  readonly #buffer = Buffer.allocUnsafe(chunkBytes)
  #at: number
  #begun: Buffer = Buffer.alloc(0)
  /** Whether the rest of a line that is too long is being skipped. */
  #skipping = false

  /** Lines that begin at `offset` or behind it. */
  constructor(file: FileHandle, offset = 0) {
    this.#file = file
    this.#at = offset
  }

  /** The lines that have become whole since; `undefined` when nothing more is in the file now. */
  async next(): Promise<readonly string[] | undefined> {
    const { bytesRead } = await this.#file.read(this.#buffer, 0, chunkBytes, this.#at)
    if (bytesRead === 0) return undefined
    this.#at += bytesRead
    return this.#split(this.#buffer.subarray(0, bytesRead))
  }

  #split(chunk: Buffer): readonly string[] {
    const end = chunk.lastIndexOf(newline)
    if (end < 0) {
      this.#begin(Buffer.concat([this.#begun, chunk]))
      return []
    }
    const lines = Buffer.concat([this.#begun, chunk.subarray(0, end)])
      .toString()
      .split('\n')
    if (this.#skipping) lines.shift()
    this.#skipping = false
    this.#begin(Buffer.from(chunk.subarray(end + 1)))
    return lines
  }

  #begin(begun: Buffer): void {
    this.#skipping ||= begun.length > maxLineBytes
    this.#begun = this.#skipping ? Buffer.alloc(0) : begun
  }
}

/** Where the last `count` lines of a file begin, or how many more there would have to be. */
export async function findTail(
  file: FileHandle,
  count: number,
): Promise<{ readonly offset: number; readonly missing: number }> {
  const { size } = await file.stat()
  if (count === 0) return { offset: size, missing: 0 }
  const buffer = Buffer.allocUnsafe(chunkBytes)
  // The newline at the very end begins no line.
  let found = -1
  for (let end = size; end > 0; end -= Math.min(end, chunkBytes)) {
    const start = Math.max(0, end - chunkBytes)
    const { bytesRead } = await file.read(buffer, 0, end - start, start)
    const chunk = buffer.subarray(0, bytesRead)
    for (let at = chunk.lastIndexOf(newline); at >= 0; at = before(chunk, at)) {
      found += 1
      if (found === count) return { offset: start + at + 1, missing: 0 }
    }
  }
  return { offset: 0, missing: count - Math.max(0, found + 1) }
}

const before = (chunk: Buffer, at: number): number =>
  at === 0 ? -1 : chunk.lastIndexOf(newline, at - 1)
