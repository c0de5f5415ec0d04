import type { Fields, Logger } from '#core/context.ts'
import { Inbox } from '#lib/rpc/inbox.ts'

/** Lines for a client that reads slower than they come are dropped beyond so many. */
const mostLines = 1000
/** What the registry client says of each request. Secrets are out of it already. */
const wanted = /^registry /

/**
 * A logger that also shows a client what is asked of a registry, and what it answers. Its lines are
 * the ones that the daemon logs at level debug.
 */
export class HttpLog {
  readonly #lines = new Inbox<Uint8Array>()

  /** The lines, until `end`. */
  get bytes(): AsyncIterable<Uint8Array> {
    return this.#lines
  }

  /** `log`, overheard. */
  around(log: Logger): Logger {
    return {
      debug: (message, fields) => {
        this.#hear(message, fields)
        log.debug(message, fields)
      },
      info: (message, fields) => log.info(message, fields),
      warn: (message, fields) => log.warn(message, fields),
      error: (message, fields) => log.error(message, fields),
      with: (fields) => this.around(log.with(fields)),
    }
  }

  end(): void {
    this.#lines.end()
  }

  #hear(message: string, fields: Fields = {}): void {
    if (!wanted.test(message) || this.#lines.size >= mostLines) return
    const parts = Object.entries(fields).map(([name, value]) => ` ${name}=${JSON.stringify(value)}`)
    this.#lines.push(Buffer.from(`${message}${parts.join('')}\n`))
  }
}
