import { closeSync } from 'node:fs'

import type { Logger } from '#core/context.ts'
import { type HeldTerminal, readTerminals, writeTerminals } from '#core/runtime/terminal-file.ts'
import { describe } from '#lib/errors/errors.ts'
import { identify, lives } from '#sys/process-end.ts'
import { takePty } from '#sys/pty.ts'

/**
 * Keeps the terminals of containers open, beside the shim host that copies them: when that is killed, their
 * processes get no SIGHUP, and another host takes the terminals over from here.
 */
export class Terminals implements Disposable {
  readonly #log: Logger
  /** By path of the bundle. */
  readonly #kept = new Map<string, readonly HeldTerminal[]>()

  constructor(log: Logger) {
    this.#log = log
  }

  /** Keeps those that the host of a bundle has now, and no others. */
  keep(bundle: string): void {
    try {
      const served = readTerminals(bundle, 'host')
      if (served && lives(served.holder)) this.#keep(bundle, served.holder.pid, served.terminals)
    } catch (err) {
      this.#log.warn('terminals would end with their shim host', { bundle, error: describe(err) })
    }
  }

  #keep(bundle: string, host: number, served: readonly HeldTerminal[]): void {
    const known = this.#kept.get(bundle) ?? []
    const has = (list: readonly HeldTerminal[], { pid, pty }: HeldTerminal): boolean =>
      list.some((each) => each.pid === pid && each.pty === pty)
    const gone = known.filter((each) => !has(served, each))
    const added = served.filter((each) => !has(known, each))
    if (gone.length === 0 && added.length === 0) return
    for (const { fd } of gone) closeSync(fd)
    const stayed = known.filter((each) => !gone.includes(each))
    const terminals = [...stayed, ...added.flatMap((each) => take(host, each))]
    this.#kept.set(bundle, terminals)
    const holder = identify(process.pid)
    if (holder) writeTerminals(bundle, 'kept', { holder, terminals })
  }

  /** Keeps none of a bundle any more. */
  letGo(bundle: string): void {
    for (const { fd } of this.#kept.get(bundle) ?? []) closeSync(fd)
    this.#kept.delete(bundle)
  }

  [Symbol.dispose](): void {
    for (const bundle of this.#kept.keys()) this.letGo(bundle)
  }
}

/** A descriptor of our own; none when the host has closed its one meanwhile. @throws {SystemError} */
function take(host: number, { pid, fd: theirs, pty }: HeldTerminal): HeldTerminal[] {
  const fd = takePty(host, theirs, pty)
  return fd === undefined ? [] : [{ pid, fd, pty }]
}
