import { constants } from 'node:os'

import type { Exit, Task as RemoteTask } from '#core/runtime/runtime.ts'
import type { AbortOptions } from '#lib/async/mutex.ts'
import { hasCode, invalidArgument } from '#lib/errors/errors.ts'

import type { Session } from './session.ts'
import type { ProcessIo } from './stdio.ts'

/** A signal by number or by name, as `SIGTERM`. */
export type Signal = number | NodeJS.Signals

/** What a process handle is made from. */
export interface ProcessParts {
  readonly session: Session
  readonly task: RemoteTask
  /** Empty for the first process of the container. */
  readonly execId: string
  readonly pid: number
  readonly io: ProcessIo
}

/** A process that has been started: the first one of a container, or one that was added. */
export class Process {
  readonly pid: number
  readonly #parts: ProcessParts
  readonly #fed: Promise<void>

  constructor(parts: ProcessParts) {
    this.#parts = parts
    this.pid = parts.pid
    this.#fed = this.#feed()
  }

  /** Waits until the process has ended and its output has been delivered. */
  async wait(options: AbortOptions = {}): Promise<Exit> {
    const { session, task, execId, io } = this.#parts
    const exit = await task.wait(session.context(options), execId)
    await io.drain(options)
    return exit
  }

  /** Sends a signal, SIGTERM without one. @throws `not_found` when the process has ended. */
  async kill(signal: Signal = 'SIGTERM', options: AbortOptions = {}): Promise<void> {
    const { session, task, execId } = this.#parts
    await task.kill(session.context(options), { signal: signalNumber(signal), execId })
  }

  /** Tells its terminal how large it is. */
  async resize(
    size: { readonly width: number; readonly height: number },
    options: AbortOptions = {},
  ): Promise<void> {
    const { session, task, execId } = this.#parts
    await task.resizePty(session.context(options), { ...size, execId })
  }

  /** Resolves when the input has been written. @throws what the source of the input threw. */
  async fed(): Promise<void> {
    await this.#fed
  }

  #feed(): Promise<void> {
    const { io } = this.#parts
    if (!io.hasInput) return Promise.resolve()
    const feeding = this.#feedAndClose()
    // A caller that does not ask for it does not want to know.
    feeding.catch(() => {})
    return feeding
  }

  async #feedAndClose(): Promise<void> {
    await using _close = { [Symbol.asyncDispose]: () => this.#closeInput() }
    await this.#parts.io.feed()
  }

  async #closeInput(): Promise<void> {
    const { session, task, execId } = this.#parts
    try {
      await task.closeStdin(session.context(), execId)
    } catch (err) {
      if (!hasCode(err, 'not_found') && !hasCode(err, 'canceled')) throw err
    }
  }
}

/** @throws `invalid_argument` for a name that is none. */
export function signalNumber(signal: Signal): number {
  const number = typeof signal === 'number' ? signal : constants.signals[signal]
  if (number === undefined) throw invalidArgument(`unknown signal ${JSON.stringify(signal)}`)
  return number
}
