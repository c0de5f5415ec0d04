import { readFileSync } from 'node:fs'

import { waitpid } from '#sys/process.ts'

/** How often a process that is not our child is looked at, ms. */
const pollMs = 100
/** The status of a process whose real one nobody can tell. */
const unknownStatus = 255

/** How and when a process ended. */
export interface Exit {
  /** The exit code, or 128 and the number of the signal. */
  readonly status: number
  readonly at: Date
}

/**
 * Tells when container processes end.
 *
 * They are children of this process since it is a subreaper. Only those that are watched are waited
 * for by pid: the others are Node's, which reaps them itself. A process that ends before it is
 * watched stays a zombie until then, so no exit is missed.
 */
export class Reaper implements Disposable {
  readonly #watched = new Map<number, (exit: Exit) => void>()
  readonly #onSignal = (): void => this.#sweep()
  #poll: NodeJS.Timeout | undefined

  constructor() {
    process.on('SIGCHLD', this.#onSignal)
  }

  /** Calls `onExit` once, when `pid` has ended. */
  watch(pid: number, onExit: (exit: Exit) => void): void {
    this.#watched.set(pid, onExit)
    if (parentOf(pid) === process.pid) {
      setImmediate(this.#onSignal)
      return
    }
    this.#poll ??= setInterval(() => this.#lookAtOthers(), pollMs)
  }

  [Symbol.dispose](): void {
    process.off('SIGCHLD', this.#onSignal)
    clearInterval(this.#poll)
    this.#watched.clear()
  }

  #sweep(): void {
    for (const pid of this.#watched.keys()) {
      const exit = waitpid(pid, true)
      if (exit) this.#ended(pid, exit.status)
    }
  }

  /** Processes that an earlier shim started, or that the runtime left to somebody else. */
  #lookAtOthers(): void {
    for (const pid of this.#watched.keys()) {
      if (parentOf(pid) === undefined) this.#ended(pid, unknownStatus)
    }
  }

  #ended(pid: number, status: number): void {
    const onExit = this.#watched.get(pid)
    this.#watched.delete(pid)
    onExit?.({ status, at: new Date() })
  }
}

/** `undefined` when there is no such process. */
function parentOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The name, in parentheses, may itself contain any character.
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
  } catch {
    return undefined
  }
}
