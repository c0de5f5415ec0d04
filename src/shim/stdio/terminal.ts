import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import type { Logger } from '#core/context.ts'
import { type ConsoleSocket, consoleSocket } from '#sys/console-socket.ts'
import { setNonblock } from '#sys/fifo.ts'
import { type WindowSize, setWindowSize } from '#sys/pty.ts'

import { type Outlet, openOutlet } from './outlet.ts'
import type { ProcessOwner, ProcessStdio, StdioPaths } from './stdio.ts'
import { TerminalInput } from './terminal-input.ts'
import { TerminalOutput } from './terminal-output.ts'

/** How long the runtime may take to send the terminal after it has ended, ms. */
const acceptMs = 30_000

/** What a terminal is copied between, open before there is one. */
interface Ends {
  readonly socket: ConsoleSocket
  readonly input: TerminalInput
  readonly outlet: Outlet
}

/** Streams of a process with a terminal, copied between its master and the client's FIFOs, or a log. */
export class TerminalStdio implements ProcessStdio {
  readonly #ends: Ends
  readonly #held: DisposableStack
  #output: TerminalOutput | undefined

  private constructor(ends: Ends, held: DisposableStack) {
    this.#ends = ends
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
    return new TerminalStdio({ socket, input, outlet }, held.move())
  }

  get consoleSocket(): string {
    return this.#ends.socket.path
  }

  async handedOver(): Promise<void> {
    const { socket, input, outlet } = this.#ends
    const master = await socket.accept(AbortSignal.timeout(acceptMs))
    // No second terminal comes.
    socket[Symbol.dispose]()
    setNonblock(master, true)
    this.#output = this.#held.use(new TerminalOutput(master, outlet.writer))
    input.connect(this.#output)
  }

  closeStdin(): void {
    this.#ends.input.closeWriter()
  }

  resize(size: WindowSize): void {
    const master = this.#output?.master
    if (master !== undefined) setWindowSize(master, size)
  }

  async drained(): Promise<void> {
    const { input, outlet } = this.#ends
    input[Symbol.dispose]()
    await this.#output?.done
    await outlet.arrived
  }

  [Symbol.dispose](): void {
    this.#held.dispose()
  }
}
