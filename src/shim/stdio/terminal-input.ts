import { createReadStream, writeSync } from 'node:fs'
import { Socket } from 'node:net'
import type { Readable } from 'node:stream'

import { isErrno } from '#sys/errno.ts'

import type { Stream } from './fifo.ts'
import type { TerminalOutput } from './terminal-output.ts'

/** How long to wait when nobody reads from the terminal, ms. */
const retryMs = 5

/** Copies what clients write to a terminal; goes on when they leave and others come. */
export class TerminalInput implements Disposable {
  readonly #source: Readable
  readonly #terminal: TerminalOutput
  #retry: NodeJS.Timeout | undefined

  constructor({ fd, keep }: Stream, terminal: TerminalOutput) {
    this.#terminal = terminal
    this.#source =
      keep === undefined
        ? createReadStream('', { fd })
        : new Socket({ fd, readable: true, writable: false })
    this.#source.on('data', (chunk: Buffer) => this.#write(chunk))
    this.#source.on('error', () => this.#source.destroy())
  }

  #write(chunk: Uint8Array): void {
    const master = this.#terminal.master
    if (master === undefined) return
    const rest = chunk.subarray(writeSome(master, chunk))
    if (rest.length === 0) {
      this.#source.resume()
      return
    }
    this.#source.pause()
    this.#retry = setTimeout(() => this.#write(rest), retryMs)
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#retry)
    this.#source.destroy()
  }
}

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
