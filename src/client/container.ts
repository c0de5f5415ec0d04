import type { Container as ContainerRecord, NewContainer } from '#core/containers/containers.ts'
import { type Context, forCleanup } from '#core/context.ts'
import type { LogEntry } from '#core/logs/json-file.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { Exit } from '#core/runtime/runtime.ts'
import type { AbortOptions } from '#lib/async/mutex.ts'
import { failedPrecondition, hasCode } from '#lib/errors/errors.ts'

import { logPathOf } from './logs/container-log.ts'
import { type ReadLogOptions, readLog } from './logs/read-log.ts'
import { livesStill, startOf } from './logs/task-life.ts'
import { Process } from './process.ts'
import type { Session } from './session.ts'
import { parseProcess } from './spec/parse.ts'
import type { Process as ProcessSpec } from './spec/types.ts'
import { type IoOptions, ProcessIo } from './stdio.ts'
import { Task } from './task.ts'

/**
 * One container: a record of what to run, and the way to run it.
 *
 * A container that `containers.create` made is removed by disposal, with its task and its snapshot,
 * unless `keep` was called. One that was looked up is left alone.
 */
export class Container implements AsyncDisposable {
  readonly id: string
  readonly #session: Session
  #owned: boolean

  constructor(session: Session, id: string, owned = false) {
    this.#session = session
    this.id = id
    this.#owned = owned
  }

  /** From here on disposal leaves it. */
  keep(): this {
    this.#owned = false
    return this
  }

  /** Its record as it is now. @throws `not_found`. */
  async info(options: AbortOptions = {}): Promise<ContainerRecord> {
    return await this.#session.containers.get(this.#session.context(options), this.id)
  }

  /** Sets labels; an empty value removes one. @throws `not_found`. */
  async setLabels(labels: Labels, options: AbortOptions = {}): Promise<ContainerRecord> {
    const paths = Object.keys(labels).map((key) => `labels.${key}`)
    const given: NewContainer = { ...emptyContainer, id: this.id, labels }
    return await this.#session.containers.update(this.#session.context(options), given, paths)
  }

  /** Its task. @throws `not_found` when it has none. */
  async task(options: AbortOptions = {}): Promise<Task> {
    const ctx = this.#session.context(options)
    const task = await this.#session.tasks.get(ctx, this.id)
    return new Task({ session: this.#session, task, spec: specOf(await this.info(options)) })
  }

  /**
   * Starts it. Disposing the task ends it.
   *
   * @throws `already_exists` when it has a task; what the runtime says.
   */
  async start(io: IoOptions & AbortOptions = {}): Promise<Task> {
    const session = this.#session
    const ctx = session.context(io)
    const record = await this.info(io)
    const spec = specOf(record)
    const rootfs = await session.snapshotter(record.snapshotter).mounts(ctx, record.snapshotKey)

    await using undo = new AsyncDisposableStack()
    const { terminal = false } = spec
    const { fifoDir } = session.settings
    const streams = undo.use(await ProcessIo.open(fifoDir, { ...io, terminal }, io))
    const task = await session.tasks.create(ctx, this.id, {
      ...streams.stdio,
      rootfs,
      taskOptions: undefined,
    })
    undo.defer(async () => void (await session.tasks.delete(forCleanup(ctx), this.id)))
    const pid = await task.start(ctx)

    const process = new Process({ session, task, execId: '', pid, io: streams })
    undo.move()
    const scope = new AsyncDisposableStack()
    scope.use(streams)
    return new Task({ session, task, spec }, scope, process)
  }

  /** Runs it to its end, and deletes its task. @returns how it ended. */
  async run(io: IoOptions & AbortOptions = {}): Promise<Exit> {
    await using task = await this.start(io)
    return await task.wait(io)
  }

  /**
   * What it has written, if its output goes to the log driver `json-file`: `logUri` of `start`.
   * Following goes on through restarts of the daemon and of the shim host.
   *
   * @throws `not_found`; `failed_precondition` when its output goes elsewhere.
   */
  async *logs(options: ReadLogOptions = {}): AsyncGenerator<LogEntry, void, undefined> {
    const { labels } = await this.info(options)
    const { id } = this
    const { stdout, pid } = await this.#state(options)
    const path = logPathOf({ id, labels, stdout })
    const start = pid > 0 ? await startOf(pid) : undefined
    // A daemon that has just come may not have found the task yet: the process itself is asked.
    const lives = async (): Promise<boolean> =>
      start === undefined
        ? await livesStill(this.#session, id, options)
        : (await startOf(pid)) === start
    yield* readLog(path, { ...options, lives })
  }

  /** Removes it with its snapshot. @throws `not_found`; `failed_precondition` while it has a task. */
  async delete(options: AbortOptions = {}): Promise<void> {
    const ctx = this.#session.context(options)
    const { snapshotter, snapshotKey } = await this.info(options)
    if (await this.#hasTask(options)) {
      throw failedPrecondition(`cannot delete container ${this.id} with a task`)
    }
    if (snapshotKey) await this.#removeSnapshot(ctx, snapshotter, snapshotKey)
    await this.#session.containers.delete(ctx, this.id)
    this.#owned = false
  }

  /** One that is gone already is no reason to keep the container: an earlier try was cut off. */
  async #removeSnapshot(ctx: Context, snapshotter: string, key: string): Promise<void> {
    try {
      await this.#session.snapshotter(snapshotter).remove(ctx, key)
    } catch (err) {
      if (!hasCode(err, 'not_found')) throw err
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#owned) return
    const { signal } = forCleanup(this.#session.context())
    try {
      if (await this.#hasTask({ signal })) await (await this.task({ signal })).end({ signal })
      await this.delete({ signal })
    } catch (err) {
      if (!hasCode(err, 'not_found')) throw err
    }
  }

  /** Empty without a task. */
  async #state(options: AbortOptions): Promise<{ readonly stdout: string; readonly pid: number }> {
    const ctx = this.#session.context(options)
    try {
      const task = await this.#session.tasks.get(ctx, this.id)
      return await task.state(ctx)
    } catch (err) {
      if (!hasCode(err, 'not_found')) throw err
      return { stdout: '', pid: 0 }
    }
  }

  async #hasTask(options: AbortOptions): Promise<boolean> {
    try {
      await this.#session.tasks.get(this.#session.context(options), this.id)
      return true
    } catch (err) {
      if (!hasCode(err, 'not_found')) throw err
      return false
    }
  }
}

/** An update names the fields it changes; the others are not looked at. */
const emptyContainer: NewContainer = {
  id: '',
  labels: {},
  image: '',
  runtime: { name: '' },
  snapshotKey: '',
  snapshotter: '',
  sandbox: '',
  extensions: {},
}

function specOf({ id, spec }: ContainerRecord): ProcessSpec {
  if (!spec) throw failedPrecondition(`container ${id} has no spec`)
  return parseProcess(spec)
}
