import { type Any } from '#core/any/any.ts'
import { type Context, withTimeout } from '#core/context.ts'
import { validateIdentifier } from '#core/identifiers/identifiers.ts'
import type { Exit, ProcessState, Stdio, Task } from '#core/runtime/runtime.ts'
import { raceAbort } from '#lib/async/mutex.ts'
import { describe, internal, invalidArgument, notFound } from '#lib/errors/errors.ts'
import type { CallOptions } from '#lib/rpc/rpc.ts'

import type { Shim } from './shim.ts'
import { partOf, toAny, toStatus, toTimestamp } from './wire.ts'

/** For calls that take a shim no time unless it is stuck. */
const quickMs = 60_000

/** A task whose shim is connected. What the shim answers is passed on as it is. */
export class ShimTask implements Task {
  readonly id: string
  readonly namespace: string
  readonly shim: Shim
  #pid: number
  /** What has become of the task, once its shim is lost. */
  #succession: Promise<ShimTask | Exit> | undefined
  readonly #waits = new Map<string, Promise<Exit>>()
  #execsChanged: () => void = () => {}

  constructor(shim: Shim, pid: number) {
    this.id = shim.bundle.id
    this.namespace = shim.bundle.namespace
    this.#pid = pid
    this.shim = shim
  }

  /** 0 until the start of a task that is restored from a checkpoint. */
  get pid(): number {
    return this.#pid
  }

  /** If the shim is lost: the same task with another one, or how it ended. */
  get succession(): Promise<ShimTask | Exit> | undefined {
    return this.#succession
  }

  /** Says that the shim is lost; those who wait for a process go on waiting in the successor. */
  loseShim(succession: Promise<ShimTask | Exit>): void {
    this.#succession = succession
  }

  /** Has `changed` called whenever an exec has started, or is deleted. */
  onExecs(changed: () => void): void {
    this.#execsChanged = changed
  }

  async state(ctx: Context, execId = ''): Promise<ProcessState> {
    const bounded = withTimeout(ctx, this.shim.program.timeout('task.state'))
    const reply = await this.#calls
      .state(this.#ids(execId), {
        signal: bounded.signal,
        ...partOf(ctx),
      })
      .catch((err: unknown) => {
        if (!this.shim.closed.aborted) throw err
        throw notFound(`task ${this.id}`, { cause: err })
      })
    const { bundle, pid, status, exitStatus, exitedAt, stdin, stdout, stderr, terminal } = reply
    return {
      containerId: this.id,
      execId,
      bundle,
      pid,
      status: toStatus(status),
      exitStatus,
      exitedAt: toTimestamp(exitedAt),
      stdin,
      stdout,
      stderr,
      terminal,
    }
  }

  async start(ctx: Context, execId = ''): Promise<number> {
    const stage = execId === '' ? 'start' : 'exec'
    const { pid } = await this.shim.ask(ctx, stage, (calls, asked) => {
      return calls.start(this.#ids(execId), asked)
    })
    if (execId === '') this.#pid = pid
    else this.#execsChanged()
    return pid
  }

  async kill(
    ctx: Context,
    { signal, all = false, execId = '' }: { signal: number; all?: boolean; execId?: string },
  ): Promise<void> {
    const request = { ...this.#ids(execId), signal, all }
    await this.shim.ask(ctx, 'kill', (calls, asked) => calls.kill(request, asked))
  }

  async exec(ctx: Context, execId: string, options: Stdio & { spec: Any }): Promise<void> {
    checkExecId(execId)
    const { spec, stdin, stdout, stderr, terminal } = options
    const request = { ...this.#ids(execId), spec, stdin, stdout, stderr, terminal }
    await this.#calls.exec(request, quick(ctx))
  }

  async deleteExec(ctx: Context, execId: string): Promise<Exit> {
    const reply = await this.shim.ask(ctx, 'delete', (calls, asked) => {
      return calls.delete(this.#ids(execId), asked)
    })
    this.#execsChanged()
    const { pid, exitStatus, exitedAt } = reply
    return { pid, status: exitStatus, exitedAt: toTimestamp(exitedAt) }
  }

  async resizePty(
    ctx: Context,
    { width, height, execId = '' }: { width: number; height: number; execId?: string },
  ): Promise<void> {
    await this.#calls.resizePty({ ...this.#ids(execId), width, height }, quick(ctx))
  }

  async closeStdin(ctx: Context, execId = ''): Promise<void> {
    await this.#calls.closeIO({ ...this.#ids(execId), stdin: true }, quick(ctx))
  }

  async pause(ctx: Context): Promise<void> {
    await this.#calls.pause({ id: this.id }, quick(ctx))
  }

  async resume(ctx: Context): Promise<void> {
    await this.#calls.resume({ id: this.id }, quick(ctx))
  }

  async pids(ctx: Context): Promise<{ pid: number; info?: Any | undefined }[]> {
    const { processes } = await this.#calls.pids({ id: this.id }, quick(ctx))
    return processes.map(({ pid, info }) => ({ pid, info: info && toAny(info) }))
  }

  async checkpoint(ctx: Context, path: string, options?: Any): Promise<void> {
    const request = { id: this.id, path, ...(options ? { options } : {}) }
    await this.#calls.checkpoint(request, { signal: ctx.signal, ...partOf(ctx) })
  }

  async update(
    ctx: Context,
    resources: Any,
    annotations: Readonly<Record<string, string>>,
  ): Promise<void> {
    await this.#calls.update({ id: this.id, resources, annotations }, quick(ctx))
  }

  async stats(ctx: Context): Promise<Any> {
    const { stats } = await this.#calls.stats({ id: this.id }, quick(ctx))
    if (!stats) throw internal(`the shim of task ${this.id} gave no stats`)
    return toAny(stats)
  }

  /** Clients that wait for one process share one call; a client that leaves does not end it. */
  async wait(ctx: Context, execId = ''): Promise<Exit> {
    ctx.signal.throwIfAborted()
    return await raceAbort(this.#exitOf(execId), ctx.signal)
  }

  #exitOf(execId: string): Promise<Exit> {
    return this.#waits.getOrInsertComputed(execId, () => this.#wait(execId))
  }

  async #wait(execId: string): Promise<Exit> {
    try {
      const { exitStatus, exitedAt } = await this.#calls.wait(this.#ids(execId))
      const pid = execId === '' ? this.pid : 0
      return { pid, status: exitStatus, exitedAt: toTimestamp(exitedAt) }
    } catch (err) {
      if (!this.#succession) throw err
      const next = await this.#succession
      return next instanceof ShimTask ? await next.#exitOf(execId) : next
    } finally {
      this.#waits.delete(execId)
    }
  }

  get #calls(): Shim['calls'] {
    return this.shim.calls
  }

  #ids(execId: string): { id: string; execId: string } {
    return { id: this.id, execId }
  }
}

const quick = (ctx: Context): CallOptions => ({
  signal: ctx.signal,
  timeoutMs: quickMs,
  ...partOf(ctx),
})

function checkExecId(execId: string): void {
  try {
    validateIdentifier(execId)
  } catch (err) {
    throw invalidArgument(`invalid exec id ${execId}: ${describe(err)}`, { cause: err })
  }
}
