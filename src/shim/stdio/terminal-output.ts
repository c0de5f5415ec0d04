import { createWriteStream } from 'node:fs'
import { Socket } from 'node:net'
import { Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { ReadStream } from 'node:tty'

import type { Stream } from './fifo.ts'

const bufferBytes = 32 * 1024

/**
 * Copies what a process writes to its terminal, until the last process has let go of that.
 *
 * The kernel gives all that is left before it says EIO, and reading pauses while the client is slow:
 * no byte is lost at the end.
 */
export class TerminalOutput implements Disposable {
  readonly #source: ReadStream
  readonly #sink: Writable
  readonly #master: number
  /** Resolves when the last byte has been written, or cannot be. */
  readonly done: Promise<void>

  /** Owns `master`, which must not block, and the stream. */
  constructor(master: number, to: Stream | undefined) {
    this.#master = master
    this.#sink = to ? openSink(to) : new Writable({ write: (_chunk, _encoding, next) => next() })
    this.done = finished(this.#sink).catch(() => {})
    this.#source = this.#read(master)
    this.#sink.on('drain', () => this.#source.resume())
    this.#sink.on('close', () => this.#source.destroy())
  }

  #read(master: number): ReadStream {
    const buffer = Buffer.allocUnsafeSlow(bufferBytes)
    const callback = (length: number): boolean =>
      this.#sink.write(Buffer.from(buffer.subarray(0, length)))
    const options = { onread: { buffer, callback } }
    // The type knows no options; the socket behind it takes them: no byte waits in a buffer there
    // that an error would throw away.
    const source: ReadStream = Reflect.construct(ReadStream, [master, options])
    source.on('error', () => source.destroy())
    source.on('close', () => this.#sink.end())
    return source.resume()
  }

  /** The master, while it is open. */
  get master(): number | undefined {
    return this.#source.destroyed ? undefined : this.#master
  }

  [Symbol.dispose](): void {
    this.#source.destroy()
    this.#sink.destroy()
  }
}

function openSink({ fd, keep }: Stream): Writable {
  if (keep === undefined) return createWriteStream('', { fd })
  return new Socket({ fd, readable: false, writable: true })
}
