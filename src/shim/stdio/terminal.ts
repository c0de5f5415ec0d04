import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import type { Logger } from '#core/context.ts'
import { type ConsoleSocket, consoleSocket } from '#sys/console-socket.ts'
import { setNonblock } from '#sys/fifo.ts'
import { type WindowSize, setWindowSize } from '#sys/pty.ts'

import { openOutlet } from './outlet.ts'
import type { ProcessOwner, ProcessStdio, StdioPaths } from './stdio.ts'
import { TerminalCopy } from './terminal-copy.ts'
import { TerminalInput } from './terminal-input.ts'

/** How long the runtime may take to send the terminal after it has ended, ms. */
const acceptMs = 30_000

/** Streams of a process with a terminal, copied between its master and the client's FIFOs, or a log. */
export class TerminalStdio implements ProcessStdio {
  readonly #socket: ConsoleSocket
  readonly #copy: TerminalCopy
  readonly #held: DisposableStack

  private constructor(socket: ConsoleSocket, copy: TerminalCopy, held: DisposableStack) {
    this.#socket = socket
    this.#copy = copy
    this.#held = held
  }

  /**
   * Opens the client's ends, and listens for the terminal that the runtime will make.
   *
   * @throws `invalid_argument` for a bad URI; {SystemError}; why nobody logs.
   */
  static async open(paths: StdioPaths, owner: ProcessOwner, log: Logger): Promise<TerminalStdio> {
    using held = new DisposableStack()
    // Not in the bundle, whose path can be too long for a socket.
    const dir = mkdtempSync(join(tmpdir(), 'wharf-pty-'))
    held.defer(() => rmSync(dir, { recursive: true, force: true }))
    const socket = held.use(await consoleSocket(join(dir, 'pty.sock')))
    const input = held.use(new TerminalInput(paths.stdin))
    const outlet = held.use(await openOutlet(paths.stdout, owner, log))
    const copy = held.use(new TerminalCopy(input, outlet))
    return new TerminalStdio(socket, copy, held.move())
  }

  get consoleSocket(): string {
    return this.#socket.path
  }

  get terminal(): number | undefined {
    return this.#copy.master
  }

  async handedOver(): Promise<void> {
    const master = await this.#socket.accept(AbortSignal.timeout(acceptMs))
    // No second terminal comes.
    this.#socket[Symbol.dispose]()
    setNonblock(master, true)
    this.#copy.begin(master)
  }

  closeStdin(): void {
    this.#copy.closeStdin()
  }

  resize(size: WindowSize): void {
    const { terminal } = this
    if (terminal !== undefined) setWindowSize(terminal, size)
  }

  async drained(): Promise<void> {
    await this.#copy.drained()
  }

  [Symbol.dispose](): void {
    this.#held.dispose()
  }
}
