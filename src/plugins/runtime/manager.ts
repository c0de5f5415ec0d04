import type { Any } from '#core/any/any.ts'
import { type Context, namespaceOf } from '#core/context.ts'
import type { Publisher } from '#core/events/events.ts'
import type { CreateOptions, Exit, Task, TaskManager } from '#core/runtime/runtime.ts'
import { span } from '#core/trace.ts'
import { raceAbort } from '#lib/async/mutex.ts'
import { alreadyExists, describe, hasCode, notFound } from '#lib/errors/errors.ts'
import { CgroupMoves } from '#sys/cgroup-moves.ts'

import { type Bundle, createBundle } from './bundle.ts'
import { createTask } from './create-task.ts'
import { cleanUp, endShim, publishDeath, removeBundle } from './end-shim.ts'
import { Launcher } from './launcher.ts'
import { Loading } from './loading.ts'
import { Pending } from './pending.ts'
import { findBundles, programOf, recoverTask, removeLeftovers } from './recover.ts'
import { initPid, reviveTask, wasCreated } from './revive.ts'
import type { RuntimeSettings } from './settings.ts'
import type { ShimTimeout } from './shim-program.ts'
import type { Shim } from './shim.ts'
import { Slots } from './slots.ts'
import { TaskMap } from './task-map.ts'
import { ShimTask } from './task.ts'
import { Terminals } from './terminals.ts'
import { Turns } from './turns.ts'
import { toTimestamp } from './wire.ts'

/** How many dead shims are cleaned up at a time: each runs programs. */
const cleanUps = 4

/**
 * Runs tasks through shims, which outlive this process.
 *
 * A task is known from the end of its creation until it is deleted or its shim is lost. Those that
 * an earlier daemon has left are found again in the background. Who asks for one that is being created
 * or found waits: a client may be at the end of a container's input while that is being created, and
 * asks for the task to say so.
 */
export class ShimTaskManager implements TaskManager {
  /** Of the daemon, not of a call. */
  readonly #ctx: Context
  readonly #settings: RuntimeSettings
  readonly #events: Publisher
  readonly #launcher: Launcher
  readonly #tasks = new TaskMap()
  readonly #loading = new Loading('no shim serves it yet, and one is still looked for')
  readonly #creating = new Loading('it is still being created')
  readonly #unwatch = new Map<ShimTask, () => void>()
  /** What must end before the manager does. */
  readonly #pending = new Pending()
  readonly #cleanUps = new Slots(cleanUps)
  readonly #stop = new AbortController()
  readonly #moves = new CgroupMoves()
  readonly #terminals: Terminals

  /** @param launcher - Ended with the manager; others may use it as long. */
  constructor(
    ctx: Context,
    settings: RuntimeSettings,
    events: Publisher,
    launcher: Launcher = new Launcher(settings, ctx.log),
  ) {
    this.#ctx = { ...ctx, signal: AbortSignal.any([ctx.signal, this.#stop.signal]) }
    this.#settings = settings
    this.#events = events
    this.#launcher = launcher
    this.#terminals = new Terminals(ctx.log)
    this.#recover()
  }

  async create(ctx: Context, id: string, options: CreateOptions): Promise<Task> {
    const namespace = namespaceOf(ctx)
    void this.#moves.expect()
    await this.#loaded(ctx, namespace, id)
    if (this.#tasks.get(namespace, id)) throw alreadyExists(`task ${id}`)
    ctx.signal.throwIfAborted()
    const bundle = span(ctx, 'bundle', () =>
      createBundle(this.#settings, namespace, id, options.spec),
    )
    const making = this.#make(ctx, bundle, options)
    this.#creating.add(bundle, settled(making))
    return await making
  }

  async #make(ctx: Context, bundle: Bundle, options: CreateOptions): Promise<Task> {
    const [daemon, settings] = [this.#ctx, this.#settings]
    const [launcher, pending] = [this.#launcher, this.#pending]
    const task = await createTask(ctx, bundle, options, { daemon, settings, launcher, pending })
    this.#add(task)
    return task
  }

  async get(ctx: Context, id: string): Promise<Task> {
    return await this.#task(ctx, id)
  }

  async list(ctx: Context): Promise<readonly Task[]> {
    const { namespace } = ctx
    // A task whose shim says nothing would be left out anyway: nobody knows how it is.
    await this.#loading.all(ctx, namespace, this.#timeout('task.state'))
    return this.#tasks.list(namespace)
  }

  async delete(ctx: Context, id: string): Promise<Exit> {
    const task = await this.#task(ctx, id)
    // The shim does not stop when the caller leaves, and nobody else would remove the bundle.
    const { signal } = this.#ctx
    return await raceAbort(this.#pending.add(this.#delete({ ...ctx, signal }, task)), ctx.signal)
  }

  async #delete(ctx: Context, task: ShimTask): Promise<Exit> {
    const { id, shim } = task
    let exit: Exit | undefined
    let missing: unknown
    try {
      const reply = await shim.ask(ctx, 'delete', (calls, asked) => calls.delete({ id }, asked))
      const { pid, exitStatus, exitedAt } = reply
      exit = { pid, status: exitStatus, exitedAt: toTimestamp(exitedAt) }
    } catch (err) {
      if (task.succession) {
        const next = await raceAbort(task.succession, ctx.signal)
        return next instanceof ShimTask ? await this.#delete(ctx, next) : next
      }
      if (!hasCode(err, 'not_found')) throw new Error('failed to delete task', { cause: err })
      missing = err
    }
    if (this.#forget(task)) await this.#pending.add(endShim(ctx, shim))
    if (!exit) throw new Error('failed to delete task', { cause: missing })
    return exit
  }

  async runtimeInfo(ctx: Context, runtime: string, options?: Any): Promise<Any> {
    const program = this.#launcher.program(runtime)
    const { ociRuntimes } = this.#settings
    const given = program.builtin && ociRuntimes ? ociRuntimes.complete(options) : options
    return await program.info(ctx, given)
  }

  /** Lets go of the shims. They, and their tasks, go on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    this.#moves[Symbol.dispose]()
    await this.#loading.settled()
    await this.#pending.settled()
    const tasks = this.#tasks.list()
    for (const task of tasks) this.#forget(task)
    this.#terminals[Symbol.dispose]()
    await this.#launcher[Symbol.asyncDispose]()
    for (const task of tasks) await task.shim[Symbol.asyncDispose]()
  }

  async #task(ctx: Context, id: string): Promise<ShimTask> {
    const namespace = namespaceOf(ctx)
    await this.#loaded(ctx, namespace, id)
    await this.#creating.of(ctx, { namespace, id }, 2 * this.#timeout('shim.load'))
    const task = this.#tasks.get(namespace, id)
    if (!task) throw notFound(`task ${id} not found`)
    return task
  }

  async #loaded(ctx: Context, namespace: string, id: string): Promise<void> {
    await this.#loading.of(ctx, { namespace, id }, 2 * this.#timeout('shim.load'))
  }

  #timeout(name: ShimTimeout): number {
    return this.#settings.live.timeout(`io.containerd.timeout.${name}`)
  }

  #add(task: ShimTask): void {
    this.#tasks.add(task)
    const { path } = task.shim.bundle
    this.#terminals.keep(path)
    task.onExecs(() => this.#terminals.keep(path))
    const { closed } = task.shim
    const onClosed = (): void => task.loseShim(this.#pending.add(this.#succeed(task)))
    if (closed.aborted) return onClosed()
    closed.addEventListener('abort', onClosed, { once: true })
    this.#unwatch.set(task, () => closed.removeEventListener('abort', onClosed))
  }

  /** From here on the end of the shim is no surprise. Whether the task was still known. */
  #forget(task: ShimTask): boolean {
    this.#unwatch.get(task)?.()
    this.#unwatch.delete(task)
    this.#terminals.letGo(task.shim.bundle.path)
    return this.#tasks.remove(task)
  }

  /** The shim is lost: another one goes on with the container, or it ends. */
  async #succeed(task: ShimTask): Promise<ShimTask | Exit> {
    const { bundle, program } = task.shim
    const reviving = this.#revive(bundle, program)
    this.#loading.add(bundle, this.#settled(bundle, reviving))
    const next = await reviving
    if (!next) return await this.#bury(task)
    if (this.#forget(task)) this.#add(next)
    await task.shim[Symbol.asyncDispose]()
    return next
  }

  async #revive(bundle: Bundle, program: Shim['program']): Promise<ShimTask | undefined> {
    return await reviveTask(this.#ctx, bundle, program, this.#launcher)
  }

  /** The shim is lost: removes its container, tells how it ended, and forgets the task. */
  async #bury(task: ShimTask): Promise<Exit> {
    const { shim } = task
    const exit = await this.#cleanUp(shim.program, shim.bundle, task.pid)
    if (this.#forget(task)) publishDeath(this.#ctx, this.#events, task, exit)
    await shim[Symbol.asyncDispose]()
    return exit
  }

  async #cleanUp(program: Shim['program'], bundle: Bundle, pid: number): Promise<Exit> {
    return await this.#cleanUps.run(async () => {
      const exit = await cleanUp(this.#ctx, program, bundle, pid)
      await removeBundle(this.#ctx, bundle)
      return exit
    })
  }

  #recover(): void {
    // None waits for another: one that does not answer must not keep the others waiting.
    const turns = new Turns(this.#settings.serving)
    for (const bundle of findBundles(this.#settings)) {
      this.#loading.add(bundle, this.#settled(bundle, this.#recoverOne(bundle, turns)))
    }
    void this.#pending.add(this.#tidy(this.#loading.settled()))
  }

  async #settled({ path }: Bundle, finding: Promise<unknown>): Promise<void> {
    try {
      await finding
    } catch (err) {
      if (this.#ctx.signal.aborted) return
      this.#ctx.log.error('failed to load shim', { path, error: describe(err) })
    }
  }

  async #recoverOne(bundle: Bundle, turns: Turns): Promise<void> {
    await turns.next(this.#ctx.signal)
    try {
      const task = await recoverTask(this.#ctx, bundle, this.#launcher)
      if (task) this.#add(task)
    } catch (err) {
      if (this.#ctx.signal.aborted) return
      this.#ctx.log.warn('shim is gone', { id: bundle.id, error: describe(err) })
      const program = programOf(bundle, this.#launcher)
      const next = await this.#revive(bundle, program)
      if (next) this.#add(next)
      else await this.#buryUnknown(bundle, program)
    }
  }

  /** A shim that died while no daemon was there: nobody has heard of the end of its task. */
  async #buryUnknown(bundle: Bundle, program: Shim['program']): Promise<void> {
    const isKnown = wasCreated(bundle, program)
    const exit = await this.#cleanUp(program, bundle, initPid(bundle))
    if (isKnown) publishDeath(this.#ctx, this.#events, bundle, exit)
  }

  async #tidy(loaded: Promise<unknown>): Promise<void> {
    await loaded
    if (!this.#ctx.signal.aborted) await removeLeftovers(this.#ctx, this.#settings)
  }
}

/** Resolves when `work` has ended, well or not. */
async function settled(work: Promise<unknown>): Promise<void> {
  await Promise.allSettled([work])
}
