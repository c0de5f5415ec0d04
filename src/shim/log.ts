import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'

import type { Fields, Logger } from '#core/context.ts'

type Level = 'debug' | 'info' | 'warning' | 'error'

/**
 * The log of a shim host, in the JSON form of logrus.
 *
 * It goes to the `log` FIFO of the bundle that was attached last, which the daemon has made and
 * reads. A line is lost when nobody reads: a log must not stop containers.
 */
export class HostLog implements Logger {
  readonly #debug: boolean
  readonly #fields: Fields
  readonly #target: { path: string }

  constructor(debug: boolean, fields: Fields = {}, target = { path: '' }) {
    this.#debug = debug
    this.#fields = fields
    this.#target = target
  }

  /** From now on lines go to this bundle. */
  attach(bundle: string): void {
    this.#target.path = join(bundle, 'log')
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

  with(fields: Fields): HostLog {
    return new HostLog(this.#debug, { ...this.#fields, ...fields }, this.#target)
  }

  #write(level: Level, msg: string, fields: Fields = {}): void {
    const line = { ...this.#fields, ...fields, level, msg, time: new Date().toISOString() }
    append(this.#target.path, `${JSON.stringify(line)}\n`)
  }
}

function append(path: string, line: string): void {
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
