import { createWriteStream, type WriteStream } from 'node:fs'
import { mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { finished } from 'node:stream/promises'

import type { Logger } from '#core/context.ts'
import { describe } from '#lib/errors/errors.ts'

/** Where audit lines go. */
export interface AuditSink extends AsyncDisposable {
  write(line: string): void
  /** Begins a new file at the same path, after somebody has moved the old one away. */
  reopen(): Promise<void>
}

/** Lines on standard error, between those of the log. */
export const stderrSink = (): AuditSink => ({
  write: (line) => void process.stderr.write(`${line}\n`),
  reopen: async () => {},
  [Symbol.asyncDispose]: async () => {},
})

/**
 * Lines appended to the file at `path`, which only its owner may read (0600).
 *
 * @throws the system's error when it cannot be opened.
 */
export async function fileSink(path: string, log: Logger): Promise<AuditSink> {
  const file = new FileSink(path, log)
  await file.reopen()
  return file
}

class FileSink implements AuditSink {
  readonly #path: string
  readonly #log: Logger
  #stream: WriteStream | undefined
  /** So that a full disk is said once, and not with every call. */
  #failing = false

  constructor(path: string, log: Logger) {
    this.#path = path
    this.#log = log
  }

  write(line: string): void {
    this.#stream?.write(`${line}\n`, (err) => {
      if (err) this.#failed(err)
    })
  }

  async reopen(): Promise<void> {
    await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 })
    const file = await open(this.#path, 'a', 0o600)
    const stream = createWriteStream(this.#path, { fd: file, autoClose: true })
    stream.on('error', (err) => this.#failed(err))
    const before = this.#stream
    this.#stream = stream
    this.#failing = false
    await end(before)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const stream = this.#stream
    this.#stream = undefined
    await end(stream)
  }

  #failed(err: Error): void {
    if (!this.#failing) {
      this.#log.error('audit lines are being lost', { path: this.#path, error: describe(err) })
    }
    this.#failing = true
  }
}

async function end(stream: WriteStream | undefined): Promise<void> {
  if (!stream || stream.destroyed) return
  stream.end()
  await finished(stream).catch(() => {}) // has been said by the error listener
}
