import { closeSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { type ConsoleSocket, consoleSocket } from '#sys/console-socket.ts'
import { setNonblock } from '#sys/fifo.ts'
import { type WindowSize, setWindowSize } from '#sys/pty.ts'

import { openInput, openOutput } from './fifo.ts'
import type { ProcessStdio, StdioPaths } from './stdio.ts'
import { TerminalInput } from './terminal-input.ts'
import { TerminalOutput } from './terminal-output.ts'

/** How long the runtime may take to send the terminal after it has ended, ms. */
const acceptMs = 30_000

/** Streams of a process with a terminal, copied between its master and the client's FIFOs. */
export class TerminalStdio implements ProcessStdio {
  readonly #paths: StdioPaths
  readonly #socket: ConsoleSocket
  readonly #held = new DisposableStack()
  readonly #stdinWriter = new DisposableStack()
  #output: TerminalOutput | undefined
  #input: TerminalInput | undefined

  private constructor(paths: StdioPaths, socket: ConsoleSocket, owned: DisposableStack) {
    this.#paths = paths
    this.#socket = socket
    this.#held.use(owned)
  }

  /** Listens for the terminal that the runtime will make. @throws {SystemError} */
  static async open(paths: StdioPaths): Promise<TerminalStdio> {
    using owned = new DisposableStack()
    // Not in the bundle, whose path can be too long for a socket.
    const dir = mkdtempSync(join(tmpdir(), 'wharf-pty-'))
    owned.defer(() => rmSync(dir, { recursive: true, force: true }))
    const socket = owned.use(await consoleSocket(join(dir, 'pty.sock')))
    return new TerminalStdio(paths, socket, owned.move())
  }

  get consoleSocket(): string {
    return this.#socket.path
  }

  async handedOver(): Promise<void> {
    const master = await this.#socket.accept(AbortSignal.timeout(acceptMs))
    setNonblock(master, true)
    const { stdin, stdout } = this.#paths
    const to = stdout === '' ? undefined : openOutput(stdout, { nonblock: true })
    if (to?.keep !== undefined) this.#keep(to.keep, this.#held)
    this.#output = this.#held.use(new TerminalOutput(master, to))
    if (stdin === '') return
    const from = openInput(stdin, { nonblock: true })
    if (from.keep !== undefined) this.#keep(from.keep, this.#stdinWriter)
    this.#input = this.#held.use(new TerminalInput(from, this.#output))
  }

  #keep(fd: number, keeper: DisposableStack): void {
    keeper.defer(() => closeSync(fd))
  }

  closeStdin(): void {
    this.#stdinWriter.dispose()
  }

  resize(size: WindowSize): void {
    const master = this.#output?.master
    if (master !== undefined) setWindowSize(master, size)
  }

  async drained(): Promise<void> {
    this.#input?.[Symbol.dispose]()
    await this.#output?.done
  }

  [Symbol.dispose](): void {
    this.#stdinWriter.dispose()
    this.#held.dispose()
  }
}
