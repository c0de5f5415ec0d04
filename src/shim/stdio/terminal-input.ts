import { closeSync, createReadStream, writeSync } from 'node:fs'
import { Socket } from 'node:net'
import type { Readable } from 'node:stream'

import { isErrno } from '#sys/errno.ts'

import { type Stream, openInput } from './fifo.ts'
import type { TerminalOutput } from './terminal-output.ts'

/** How long to wait when nobody reads from the terminal, ms. */
const retryMs = 5

/** Copies what clients write to a terminal; goes on when they leave and others come. */
export class TerminalInput implements Disposable {
  readonly #source: Readable | undefined
  readonly #writer = new DisposableStack()
  #terminal: TerminalOutput | undefined
  #retry: NodeJS.Timeout | undefined

  /** Opens `path`; there is no input without one. @throws {SystemError} */
  constructor(path: string) {
    if (path === '') return
    const stream = openInput(path, { nonblock: true })
    const { keep } = stream
    if (keep !== undefined) this.#writer.defer(() => closeSync(keep))
    this.#source = openReader(stream)
    this.#source.on('error', () => this.#source?.destroy())
  }

  /** Begins to copy. */
  connect(terminal: TerminalOutput): void {
    this.#terminal = terminal
    this.#source?.on('data', (chunk: Buffer) => this.#write(chunk))
  }

  /** The input ends with what clients still write. */
  closeWriter(): void {
    this.#writer.dispose()
  }

  #write(chunk: Uint8Array): void {
    const master = this.#terminal?.master
    if (master === undefined) return
    const rest = chunk.subarray(writeSome(master, chunk))
    if (rest.length === 0) {
      this.#source?.resume()
      return
    }
    this.#source?.pause()
    this.#retry = setTimeout(() => this.#write(rest), retryMs)
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#retry)
    this.#writer.dispose()
    this.#source?.destroy()
  }
}

const openReader = ({ fd, keep }: Stream): Readable =>
  keep === undefined
    ? createReadStream('', { fd })
    : new Socket({ fd, readable: true, writable: false })

/** How many bytes the terminal took. */
function writeSome(master: number, chunk: Uint8Array): number {
  try {
    return writeSync(master, chunk)
  } catch (err) {
    if (isErrno(err, 'EAGAIN')) return 0
    // EIO: no process has the terminal any more, so nobody misses the rest.
    return chunk.length
  }
}
