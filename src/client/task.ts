import type { Any } from '#core/any/any.ts'
import { type Context, forCleanup } from '#core/context.ts'
import type { Exit, Task as RemoteTask, ProcessState } from '#core/runtime/runtime.ts'
import type { AbortOptions } from '#lib/async/mutex.ts'
import { hasCode } from '#lib/errors/errors.ts'

import { type ExecOptions, ExecProcess } from './exec.ts'
import { type Process, type Signal, signalNumber } from './process.ts'
import type { Session } from './session.ts'
import type { Process as ProcessSpec } from './spec/types.ts'

/** What a task handle is made from. */
export interface TaskParts {
  readonly session: Session
  readonly task: RemoteTask
  /** Of the container, from which added processes are made. */
  readonly spec: ProcessSpec
}

/**
 * The running side of a container.
 *
 * Disposal ends a task that `container.start` made: what still runs is killed, and the task is
 * deleted. One that was looked up is left alone; `end` is for those.
 */
export class Task implements AsyncDisposable {
  readonly id: string
  readonly pid: number
  readonly #parts: TaskParts
  readonly #scope: AsyncDisposableStack
  readonly #process: Process | undefined

  constructor(parts: TaskParts, scope = new AsyncDisposableStack(), process?: Process) {
    this.#parts = parts
    this.#scope = scope
    this.#process = process
    this.id = parts.task.id
    this.pid = parts.task.pid
  }

  /** Waits until the first process has ended and its output has been delivered. */
  async wait(options: AbortOptions = {}): Promise<Exit> {
    if (this.#process) return await this.#process.wait(options)
    return await this.#parts.task.wait(this.#context(options))
  }

  /** How the first process is, or one that was added. @throws `not_found`. */
  async state(options: AbortOptions & { readonly execId?: string } = {}): Promise<ProcessState> {
    return await this.#parts.task.state(this.#context(options), options.execId)
  }

  /** Sends a signal to the first process, or to `all`. @throws `not_found` when it has ended. */
  async kill(
    signal: Signal = 'SIGTERM',
    options: AbortOptions & { readonly all?: boolean } = {},
  ): Promise<void> {
    const { all = false } = options
    await this.#parts.task.kill(this.#context(options), { signal: signalNumber(signal), all })
  }

  /** Adds a process, runs it, and gives how it ended. Its output has been delivered by then. */
  async exec(options: ExecOptions): Promise<Exit> {
    await using process = await this.startExec(options)
    return await process.wait(options)
  }

  /** Adds a process and starts it. Disposing the handle ends it. */
  async startExec(options: ExecOptions): Promise<ExecProcess> {
    return await ExecProcess.start(this.#parts, options)
  }

  /** Tells the terminal of the first process how large it is. */
  async resize(
    size: { readonly width: number; readonly height: number },
    options: AbortOptions = {},
  ): Promise<void> {
    await this.#parts.task.resizePty(this.#context(options), size)
  }

  /** Freezes every process. */
  async pause(options: AbortOptions = {}): Promise<void> {
    await this.#parts.task.pause(this.#context(options))
  }

  /** Lets them go on. */
  async resume(options: AbortOptions = {}): Promise<void> {
    await this.#parts.task.resume(this.#context(options))
  }

  /** Every process there is, as pids of the host. */
  async pids(options: AbortOptions = {}): Promise<number[]> {
    const processes = await this.#parts.task.pids(this.#context(options))
    return processes.map(({ pid }) => pid)
  }

  /** What its cgroup counts: `io.containerd.cgroups.v1.Metrics` or `….v2.Metrics`. */
  async metrics(options: AbortOptions = {}): Promise<Any> {
    return await this.#parts.task.stats(this.#context(options))
  }

  /** Removes a task that has ended. @throws `failed_precondition` while it runs; `not_found`. */
  async delete(options: AbortOptions = {}): Promise<Exit> {
    return await this.#parts.session.tasks.delete(this.#context(options), this.id)
  }

  /** Kills what still runs, waits for its end and deletes the task. */
  async end(options: AbortOptions = {}): Promise<void> {
    const ctx = this.#context(options)
    const { task, session } = this.#parts
    try {
      await task.kill(ctx, { signal: signalNumber('SIGKILL'), all: true })
    } catch (err) {
      if (!isOver(err)) throw err
    }
    try {
      await task.wait(ctx)
      await session.tasks.delete(ctx, this.id)
    } catch (err) {
      if (!hasCode(err, 'not_found')) throw err
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await using _streams = this.#scope
    if (this.#process) await this.end(forCleanup(this.#context({})))
  }

  #context(options: AbortOptions): Context {
    return this.#parts.session.context(options)
  }
}

/** Killing what has ended is `not_found`; runtimes say `failed_precondition` for what never began. */
const isOver = (err: unknown): boolean =>
  hasCode(err, 'not_found') || hasCode(err, 'failed_precondition')
