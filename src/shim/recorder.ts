import type { Logger } from '#core/context.ts'
import { describe } from '#lib/errors/errors.ts'
import type { ProcessIdentity } from '#sys/process-end.ts'

import type { TaskProcess } from './process.ts'
import { bootId, isRecorded, type Recorded, recordOf, removeRecord, writeRecord } from './record.ts'
import { TerminalRecord } from './terminal-record.ts'

/** A process of a container, as it is now. */
type Shown = TaskProcess & Recorded

/** What is written down of. */
export interface RecorderParts {
  readonly bundle: string
  readonly init: Shown
  /** Those that have not been deleted. */
  readonly execs: () => Iterable<Shown>
  readonly log: Logger
}

/** Writes down what a new host would have to know of a container, should this one be killed. */
export class Recorder {
  readonly #parts: RecorderParts
  /** Which processes they were when they were first recorded. */
  readonly #identities = new Map<number, ProcessIdentity | undefined>()
  readonly #terminals: TerminalRecord
  #waiting: NodeJS.Immediate | undefined
  #hasWritten = false
  #isDeleted = false

  constructor(parts: RecorderParts) {
    this.#parts = parts
    this.#terminals = new TerminalRecord(parts.bundle)
  }

  /** Whether somebody else has removed what was written, or made a new bundle there. */
  get isLost(): boolean {
    return this.#hasWritten && !isRecorded(this.#parts.bundle)
  }

  /** Writes all of it, at once. */
  write(): void {
    // The bundle may be another container's by now.
    if (this.#isDeleted) return
    clearImmediate(this.#waiting)
    this.#waiting = undefined
    const { bundle, init, log } = this.#parts
    const started = [...this.#parts.execs()].filter(({ pid }) => pid > 0)
    const record = {
      boot: bootId(),
      paused: init.status === 'paused',
      init: recordOf(init, this.#identities),
      execs: started.map((exec) => ({
        execId: exec.execId,
        pid: exec.pid,
        ...recordOf(exec, this.#identities),
      })),
    }
    try {
      writeRecord(bundle, record)
      this.#hasWritten = true
      this.#terminals.write([init, ...started])
    } catch (err) {
      // The container does not need it to run.
      log.error('cannot record the container', { error: describe(err) })
    }
  }

  /** Does so for an exec, when whoever waits for an answer has it; at once where others look for terminals there. */
  writeFor({ stdio }: Shown): void {
    if (stdio.terminal) this.write()
    else this.#waiting ??= setImmediate(() => this.write())
  }

  /** The pid may be another process's from here on. */
  forget(pid: number): void {
    this.#identities.delete(pid)
  }

  /** There is nothing to go on with any more. */
  remove(): void {
    this.#isDeleted = true
    removeRecord(this.#parts.bundle)
  }
}
