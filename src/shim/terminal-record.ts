import { type HeldTerminal, writeTerminals } from '#core/runtime/terminal-file.ts'
import { identify } from '#sys/process-end.ts'
import { ptyOf } from '#sys/pty.ts'

import type { ProcessStdio } from './stdio/stdio.ts'

/** Says in a bundle which descriptors of this host are terminals: the daemon keeps those open. */
export class TerminalRecord {
  readonly #bundle: string
  #hasAny = false

  constructor(bundle: string) {
    this.#bundle = bundle
  }

  /** @throws {SystemError} */
  write(processes: readonly (Pick<ProcessStdio, 'terminal'> & { readonly pid: number })[]): void {
    const terminals = processes.flatMap(({ pid, terminal: fd }): HeldTerminal[] =>
      fd === undefined ? [] : [{ pid, fd, pty: ptyOf(fd) }],
    )
    if (terminals.length === 0 && !this.#hasAny) return
    this.#hasAny = terminals.length > 0
    const holder = identify(process.pid)
    if (holder) writeTerminals(this.#bundle, 'host', { holder, terminals })
  }
}
