import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'

import type { Fields, Logger } from '#core/context.ts'

type Level = 'debug' | 'info' | 'warning' | 'error'

/** Takes one line with its end; may lose it. */
export type Sink = (line: string) => void

/** Writes lines in the JSON form of logrus, which the daemon passes on. */
export class JsonLogger implements Logger {
  readonly #sink: Sink
  readonly #debug: boolean
  readonly #fields: Fields

  constructor(sink: Sink, debug: boolean, fields: Fields = {}) {
    this.#sink = sink
    this.#debug = debug
    this.#fields = fields
  }

  debug(message: string, fields?: Fields): void {
    if (this.#debug) this.#write('debug', message, fields)
  }

  info(message: string, fields?: Fields): void {
    this.#write('info', message, fields)
  }

  warn(message: string, fields?: Fields): void {
    this.#write('warning', message, fields)
  }

  error(message: string, fields?: Fields): void {
    this.#write('error', message, fields)
  }

  with(fields: Fields): Logger {
    return new JsonLogger(this.#sink, this.#debug, { ...this.#fields, ...fields })
  }

  #write(level: Level, msg: string, fields: Fields = {}): void {
    const line = { ...this.#fields, ...fields, level, msg, time: new Date().toISOString() }
    this.#sink(`${JSON.stringify(line)}\n`)
  }
}

/**
 * Writes to the `log` FIFO of a bundle, which the daemon made and reads. A line is lost when nobody
 * reads: a log must not stop containers.
 */
export function bundleSink(bundle: string): Sink {
  const path = join(bundle, 'log')
  return (line) => {
    try {
      const fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK)
      try {
        writeSync(fd, line)
      } finally {
        closeSync(fd)
      }
    } catch {
      // ENXIO without a reader, EAGAIN with a slow one, ENOENT when the bundle is gone.
    }
  }
}
