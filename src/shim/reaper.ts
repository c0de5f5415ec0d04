import { readFileSync } from 'node:fs'

import { isErrno } from '#sys/errno.ts'
import { endedOf, WatchedProcess } from '#sys/process-end.ts'
import { waitpid } from '#sys/process.ts'

/** How often processes that are not our children are looked at, ms. */
const pollMs = 100
/** How long a child that nobody claims stays a zombie, ms. */
const strayMs = 1_000
/** The status of a process whose real one nobody can tell: kernels before 6.15 rarely do. */
export const unknownStatus = 255

/** How and when a process ended. */
export interface Exit {
  /** The exit code, or 128 and the number of the signal. */
  readonly status: number
  readonly at: Date
}

type OnExit = (exit: Exit) => void

/**
 * Tells when container processes end.
 *
 * They are children of this process since it is a subreaper. Only those that are watched are waited
 * for by pid: the others are Node's, which reaps them itself. A process that ends before it is
 * watched stays a zombie until then, so no exit is missed.
 *
 * Processes of containers that share the host's pid namespace become children, too, when their
 * parents end. Nobody asks for those: a zombie that is still there after a second is reaped.
 */
export class Reaper implements Disposable {
  readonly #children = new Map<number, OnExit>()
  /** Processes that an earlier host started, or that the runtime left to somebody else. */
  readonly #others = new Map<WatchedProcess, OnExit>()
  readonly #isQuiet: () => boolean
  readonly #onSignal = (): void => this.#sweep()
  #poll: NodeJS.Timeout | undefined
  #strayCheck: NodeJS.Timeout | undefined
  #strays: ReadonlySet<number> = new Set()

  /** `isQuiet` says that no process is just being made whose pid is not known yet. */
  constructor(isQuiet: () => boolean) {
    this.#isQuiet = isQuiet
    process.on('SIGCHLD', this.#onSignal)
  }

  /** Calls `onExit` once, when `pid` has ended. */
  watch(pid: number, onExit: OnExit): void {
    if (parentOf(pid) === process.pid) {
      this.#children.set(pid, onExit)
      setImmediate(this.#onSignal)
      return
    }
    try {
      this.#others.set(new WatchedProcess(pid), onExit)
      this.#poll ??= setInterval(() => this.#lookAtOthers(), pollMs)
    } catch (err) {
      if (!isErrno(err, 'ESRCH')) throw err
      setImmediate(() => onExit({ status: unknownStatus, at: new Date() }))
    }
  }

  [Symbol.dispose](): void {
    process.off('SIGCHLD', this.#onSignal)
    clearInterval(this.#poll)
    clearTimeout(this.#strayCheck)
    this.#children.clear()
    for (const other of this.#others.keys()) other[Symbol.dispose]()
    this.#others.clear()
  }

  #sweep(): void {
    for (const [pid, onExit] of this.#children) {
      const exit = waitpid(pid, true)
      if (!exit) continue
      this.#children.delete(pid)
      onExit({ status: exit.status, at: new Date() })
    }
    this.#strayCheck ??= setTimeout(() => this.#reapStrays(), strayMs)
  }

  #lookAtOthers(): void {
    for (const ended of endedOf([...this.#others.keys()])) {
      using other = ended
      const onExit = this.#others.get(other)
      this.#others.delete(other)
      onExit?.({ status: other.status ?? unknownStatus, at: new Date() })
    }
    if (this.#others.size > 0) return
    clearInterval(this.#poll)
    this.#poll = undefined
  }

  #reapStrays(): void {
    this.#strayCheck = undefined
    const zombies = childrenOf(process.pid).filter(
      (pid) => !this.#children.has(pid) && statOf(pid)?.state === 'Z',
    )
    const old = this.#isQuiet() ? zombies.filter((pid) => this.#strays.has(pid)) : []
    for (const pid of old) waitpid(pid, true)
    this.#strays = new Set(zombies).difference(new Set(old))
    if (this.#strays.size === 0) return
    this.#strayCheck = setTimeout(() => this.#reapStrays(), strayMs)
  }
}

const parentOf = (pid: number): number | undefined => statOf(pid)?.parent

/** `undefined` when there is no such process. */
function statOf(pid: number): { readonly state: string; readonly parent: number } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The name, in parentheses, may itself contain any character.
    const [state = '', parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return { state, parent: Number(parent) }
  } catch {
    return undefined
  }
}

function childrenOf(pid: number): readonly number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    return text.split(' ').filter(Boolean).map(Number)
  } catch {
    // A kernel without CONFIG_PROC_CHILDREN: strays stay.
    return []
  }
}
