import type { Logger } from '#core/context.ts'
import { readTerminals } from '#core/runtime/terminal-file.ts'
import { describe } from '#lib/errors/errors.ts'
import { lives } from '#sys/process-end.ts'
import { setWindowSize, takePty, type WindowSize } from '#sys/pty.ts'

import { openOutlet, type Outlet } from './outlet.ts'
import type { ProcessOwner, ProcessStdio, StdioPaths } from './stdio.ts'
import { TerminalCopy } from './terminal-copy.ts'
import { TerminalInput } from './terminal-input.ts'

/** Takes over the master of the terminal of the process `pid`, if the daemon has kept it. */
export function takeTerminal(bundle: string, pid: number, log: Logger): number | undefined {
  try {
    const kept = readTerminals(bundle, 'kept')
    const terminal = kept?.terminals.find((each) => each.pid === pid)
    if (!kept || !terminal || !lives(kept.holder)) return undefined
    return takePty(kept.holder.pid, terminal.fd, terminal.pty)
  } catch (err) {
    log.error('a terminal cannot be taken over', { pid, error: describe(err) })
    return undefined
  }
}

/**
 * Streams of a process whose host was killed, and whose terminal the daemon has kept: what the process has
 * written meanwhile is read on. The client's FIFOs are opened again; those that are gone need nothing.
 */
export class AdoptedTerminal implements ProcessStdio {
  readonly #master: number
  readonly #held = new DisposableStack()
  readonly #copying: Promise<TerminalCopy>
  #copy: TerminalCopy | undefined

  /** Owns `master`. */
  constructor(
    master: number,
    paths: StdioPaths & { readonly stdinClosed: boolean },
    owner: ProcessOwner,
    log: Logger,
  ) {
    this.#master = master
    this.#copying = this.#begin(paths, owner, log)
  }

  async #begin(
    { stdin, stdout, stdinClosed }: StdioPaths & { readonly stdinClosed: boolean },
    owner: ProcessOwner,
    log: Logger,
  ): Promise<TerminalCopy> {
    const input = this.#held.use(openInput(stdin, log))
    const outlet = this.#held.use(await openOutletAgain(stdout, owner, log))
    const copy = this.#held.use(new TerminalCopy(input, outlet))
    copy.begin(this.#master)
    this.#copy = copy
    if (stdinClosed) copy.closeStdin()
    return copy
  }

  get terminal(): number | undefined {
    return this.#copy ? this.#copy.master : this.#master
  }

  handedOver(): Promise<void> {
    return Promise.resolve()
  }

  closeStdin(): void {
    void this.#copying.then((copy) => copy.closeStdin())
  }

  resize(size: WindowSize): void {
    const { terminal } = this
    if (terminal !== undefined) setWindowSize(terminal, size)
  }

  async drained(): Promise<void> {
    await (await this.#copying).drained()
  }

  [Symbol.dispose](): void {
    void this.#copying.then(() => this.#held.dispose())
  }
}

function openInput(path: string, log: Logger): TerminalInput {
  try {
    return new TerminalInput(path)
  } catch (err) {
    log.info('a terminal has no input any more', { error: describe(err) })
    return new TerminalInput('')
  }
}

/** Without anybody to show it to, it is still read: the process would have to wait. */
async function openOutletAgain(uri: string, owner: ProcessOwner, log: Logger): Promise<Outlet> {
  try {
    return await openOutlet(uri, owner, log)
  } catch (err) {
    log.error('what a terminal shows goes nowhere any more', { error: describe(err) })
    return await openOutlet('', owner, log)
  }
}
