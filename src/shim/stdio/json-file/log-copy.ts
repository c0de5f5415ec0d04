import { Socket } from 'node:net'

import {
  type JsonFileTarget,
  type StreamName,
  formatEntry,
  streamNames,
} from '#core/logs/json-file.ts'
import { describe } from '#lib/errors/errors.ts'
import { rfc3339Now } from '#lib/go/now.ts'

import { LineSplitter, type Piece } from './line-splitter.ts'
import type { Outputs } from './messages.ts'
import { RotatingFile } from './rotating-file.ts'

/** One for all: a chunk is dealt with before the next one is read. */
const buffer = Buffer.allocUnsafeSlow(64 * 1024)

/** What becomes of a copy. */
export interface LogCopyEvents {
  /** A line could not be written, after one that could, or that was the first. */
  readonly onLost: (error: string) => void
  /** Lines are written again; so many were not, at most. */
  readonly onResumed: (lines: number) => void
  readonly onEnd: () => void
}

/**
 * Copies the output of one process into its log.
 *
 * A log that cannot be written to, on a full disk for example, does not stop the process: its lines
 * are dropped and counted until there is room.
 */
export class LogCopy implements Disposable {
  readonly #file: RotatingFile
  readonly #events: LogCopyEvents
  readonly #sources = new Set<Socket>()
  #lost = 0

  /** Owns the pipes. @throws as `RotatingFile` does, and then does not. */
  constructor(target: JsonFileTarget, outputs: Outputs, events: LogCopyEvents) {
    this.#file = new RotatingFile(target)
    this.#events = events
    streamNames.forEach((stream, n) => this.#copy(outputs[n] ?? -1, stream))
  }

  /** Stops, whatever is still to come. */
  [Symbol.dispose](): void {
    for (const source of this.#sources) source.destroy()
  }

  #copy(fd: number, stream: StreamName): void {
    const splitter = new LineSplitter()
    const callback = (length: number, chunk: Uint8Array): boolean => {
      const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, length)
      this.#write(stream, splitter.split(bytes, rfc3339Now()))
      return true
    }
    const source = new Socket({ fd, readable: true, writable: false, onread: { buffer, callback } })
    this.#sources.add(source)
    source.on('error', () => source.destroy())
    source.once('close', () => {
      this.#write(stream, splitter.end())
      this.#sources.delete(source)
      if (this.#sources.size > 0) return
      this.#file[Symbol.dispose]()
      this.#events.onEnd()
    })
    source.resume()
  }

  #write(stream: StreamName, pieces: readonly Piece[]): void {
    if (pieces.length === 0) return
    const lines = pieces.map(({ text, time }) => formatEntry({ log: text, stream, time }))
    try {
      this.#file.write(lines)
    } catch (err) {
      if (this.#lost === 0) this.#events.onLost(describe(err))
      this.#lost += lines.length
      return
    }
    if (this.#lost > 0) this.#events.onResumed(this.#lost)
    this.#lost = 0
  }
}
