import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'

import type { Fields, Logger } from '#core/context.ts'
import { isErrno } from '#sys/errno.ts'

type Level = 'debug' | 'info' | 'warning' | 'error'

/**
 * The log of a shim host, in the JSON form of logrus. Lines about a container have its `id`.
 *
 * It goes to the `log` FIFO of one of the bundles, whichever has a daemon that reads it: a daemon
 * that comes back makes one, wharfd reads no other while the host runs, and Go's containerd reads
 * each until its container is deleted. A line is lost when nobody reads: a log must not stop
 * containers.
 */
export class HostLog implements Logger {
  readonly #debug: boolean
  readonly #fields: Fields
  readonly #target: LogTarget

  constructor(debug: boolean, fields: Fields = {}, target = new LogTarget()) {
    this.#debug = debug
    this.#fields = fields
    this.#target = target
  }

  /** From now on lines may go to this bundle. */
  attach(bundle: string): void {
    this.#target.bundles.add(bundle)
  }

  /** The bundle goes; who reads its log may go on with that. */
  detach(bundle: string): void {
    this.#target.bundles.delete(bundle)
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
    this.#target.write(`${JSON.stringify(line)}\n`)
  }
}

/** The FIFO that is written to, which is kept open as long as somebody reads it. */
class LogTarget {
  readonly bundles = new Set<string>()
  #fd: number | undefined

  write(line: string): void {
    if (this.#fd !== undefined && this.#writeTo(this.#fd, line)) return
    this.#fd = this.#open()
    if (this.#fd !== undefined) this.#writeTo(this.#fd, line)
  }

  /** Whether it is still the one to write to, also when this line did not fit. */
  #writeTo(fd: number, line: string): boolean {
    try {
      writeSync(fd, line)
    } catch (err) {
      if (isErrno(err, 'EAGAIN')) return true
      closeSync(fd)
      this.#fd = undefined
      return false
    }
    return true
  }

  /** The newest bundle first: an earlier daemon may have made the others' FIFOs. */
  #open(): number | undefined {
    for (const bundle of [...this.bundles].toReversed()) {
      try {
        return openSync(join(bundle, 'log'), constants.O_WRONLY | constants.O_NONBLOCK)
      } catch {
        // ENXIO without a reader, ENOENT without a FIFO.
      }
    }
    return undefined
  }
}
