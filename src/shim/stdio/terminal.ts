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
  readonly #meeting: Meeting
  readonly #copy: TerminalCopy
  readonly #held: DisposableStack

  private constructor(meeting: Meeting, copy: TerminalCopy, held: DisposableStack) {
    this.#meeting = meeting
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
    const meeting = held.use(await Meeting.open())
    const input = held.use(new TerminalInput(paths.stdin))
    const outlet = held.use(await openOutlet(paths.stdout, owner, log))
    const copy = held.use(new TerminalCopy(input, outlet))
    return new TerminalStdio(meeting, copy, held.move())
  }

  get consoleSocket(): string {
    return this.#meeting.socket.path
  }

  get terminal(): number | undefined {
    return this.#copy.master
  }

  async handedOver(): Promise<void> {
    using meeting = this.#meeting
    const master = await meeting.socket.accept(AbortSignal.timeout(acceptMs))
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

/** Where the runtime hands a terminal over. No second one comes: it is gone when the first has come. */
class Meeting implements Disposable {
  readonly socket: ConsoleSocket
  readonly #held: DisposableStack

  private constructor(socket: ConsoleSocket, held: DisposableStack) {
    this.socket = socket
    this.#held = held
  }

  static async open(): Promise<Meeting> {
    using held = new DisposableStack()
    // Not in the bundle, whose path can be too long for a socket.
    const dir = mkdtempSync(join(tmpdir(), 'wharf-pty-'))
    held.defer(() => rmSync(dir, { recursive: true, force: true }))
    const socket = held.use(await consoleSocket(join(dir, 'pty.sock')))
    return new Meeting(socket, held.move())
  }

  [Symbol.dispose](): void {
    this.#held.dispose()
  }
}
