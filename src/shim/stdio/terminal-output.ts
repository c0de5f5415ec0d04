import type { Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { ReadStream } from 'node:tty'

const bufferBytes = 32 * 1024

/**
 * Copies what a process writes to its terminal, until the last process has let go of that.
 *
 * The kernel gives all that is left before it says EIO, and reading pauses while the client is slow:
 * no byte is lost at the end.
 */
export class TerminalOutput implements Disposable {
  readonly #source: ReadStream
  readonly #writer: Writable
  readonly #master: number
  /** Resolves when the last byte has been written, or cannot be. */
  readonly done: Promise<void>

  /** Owns `master`, which must not block. */
  constructor(master: number, writer: Writable) {
    this.#master = master
    this.#writer = writer
    this.done = finished(writer).catch(() => {})
    this.#source = this.#read(master)
    writer.on('drain', () => this.#source.resume())
    writer.on('close', () => this.#source.destroy())
  }

  #read(master: number): ReadStream {
    const buffer = Buffer.allocUnsafeSlow(bufferBytes)
    const callback = (length: number): boolean =>
      this.#writer.write(Buffer.from(buffer.subarray(0, length)))
    const options = { onread: { buffer, callback } }
    // The type knows no options; the socket behind it takes them: no byte waits in a buffer there
    // that an error would throw away.
    const source: ReadStream = Reflect.construct(ReadStream, [master, options])
    source.on('error', () => source.destroy())
    source.on('close', () => this.#writer.end())
    return source.resume()
  }

  /** The master, while it is open. */
  get master(): number | undefined {
    return this.#source.destroyed ? undefined : this.#master
  }

  [Symbol.dispose](): void {
    this.#source.destroy()
  }
}
