import { randomUUID } from 'node:crypto'

import { type Context, forCleanup } from '#core/context.ts'
import type { Exit } from '#core/runtime/runtime.ts'
import type { AbortOptions } from '#lib/async/mutex.ts'
import { hasCode } from '#lib/errors/errors.ts'

import { Process, type ProcessParts, type Signal, signalNumber } from './process.ts'
import { type ProcessOptions, buildProcess, packProcess } from './spec/build.ts'
import { type IoOptions, ProcessIo } from './stdio.ts'
import type { TaskParts } from './task.ts'

/** How to add a process to a task. */
export interface ExecOptions extends ProcessOptions, IoOptions, AbortOptions {
  readonly args: readonly string[]
  /** A random one without it. */
  readonly id?: string
}

/** A process that was added to a task. Disposal removes it; if it still runs, it is killed. */
export class ExecProcess implements AsyncDisposable {
  readonly id: string
  readonly pid: number
  readonly #process: Process
  readonly #scope: AsyncDisposableStack

  private constructor(parts: ProcessParts, scope: AsyncDisposableStack) {
    this.id = parts.execId
    this.pid = parts.pid
    this.#process = new Process(parts)
    this.#scope = scope
  }

  /** @throws `already_exists` for the id; what the runtime says. */
  static async start(
    { task, session, spec }: TaskParts,
    options: ExecOptions,
  ): Promise<ExecProcess> {
    const ctx = session.context(options)
    const execId = options.id ?? `exec-${randomUUID()}`
    await using scope = new AsyncDisposableStack()
    const io = scope.use(await ProcessIo.open(session.settings.fifoDir, options, options))
    const process = packProcess(buildProcess(spec, options))
    await task.exec(ctx, execId, { ...io.stdio, spec: process })
    scope.defer(() => remove(ctx, task, execId))
    const pid = await task.start(ctx, execId)
    return new ExecProcess({ session, task, execId, pid, io }, scope.move())
  }

  /** Waits until the process has ended and its output has been delivered. */
  async wait(options: AbortOptions = {}): Promise<Exit> {
    return await this.#process.wait(options)
  }

  /** Sends a signal, SIGTERM without one. @throws `not_found` when the process has ended. */
  async kill(signal?: Signal, options: AbortOptions = {}): Promise<void> {
    await this.#process.kill(signal, options)
  }

  /** Tells its terminal how large it is. */
  async resize(
    size: { readonly width: number; readonly height: number },
    options: AbortOptions = {},
  ): Promise<void> {
    await this.#process.resize(size, options)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scope.disposeAsync()
  }
}

async function remove(ctx: Context, task: TaskParts['task'], execId: string): Promise<void> {
  const cleanup = forCleanup(ctx)
  try {
    await task.deleteExec(cleanup, execId)
  } catch (err) {
    if (hasCode(err, 'not_found')) return
    await task.kill(cleanup, { signal: signalNumber('SIGKILL'), execId })
    await task.wait(cleanup, execId)
    await task.deleteExec(cleanup, execId)
  }
}
