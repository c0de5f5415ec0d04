import { existsSync } from 'node:fs'
import { join } from 'node:path'

import type { CheckpointTaskRequest as CheckpointRequest } from '#gen/shim/task-v3_pb.ts'
import { Mutex, raceAbort } from '#lib/async/mutex.ts'
import type { WindowSize } from '#sys/pty.ts'
import { notFound } from '#lib/errors/errors.ts'

import { removeByHand } from './by-hand.ts'
import { checkpoint } from './checkpoint.ts'
import { patienceUntil } from './patience.ts'
import { type ProcessStatus, type TaskProcess, refuse } from './process.ts'
import type { Exit } from './reaper.ts'
import { CommandError, CommandTimeout } from './runc/command-error.ts'
import { deleteDirectly, startDirectly } from './runc/direct.ts'
import type { Runc } from './runc/runc.ts'
import { isUnknownContainer, killError, runtimeError } from './runc/runtime-error.ts'
import { drain } from './stdio/drain.ts'
import type { ProcessStdio, StdioPaths } from './stdio/stdio.ts'
import type { Work } from './work.ts'

/** What the OCI runtime has created. */
export interface InitOptions {
  readonly id: string
  readonly bundle: string
  /** 0 for one that is restored when it starts. */
  readonly pid: number
  readonly runc: Runc
  readonly stdio: StdioPaths
  readonly streams: ProcessStdio
  /** How it is found, if another host has made it. */
  readonly found?: Found
  /** Starts it from a checkpoint, and gives its pid. */
  readonly restore?: () => Promise<number>
}

/** What has become of a process before it came here. */
export interface Found {
  readonly status: ProcessStatus
  readonly exit: Exit | undefined
  readonly stdinClosed: boolean
}

/**
 * The init process of a container.
 *
 *     created ─ start → running ⇄ pause, resume ⇄ paused
 *        └───────────────┴── exit → stopped ── delete → deleted
 *
 * What changes the state goes one after the other; so an exit during `start` is seen after it.
 */
export class InitProcess implements TaskProcess {
  readonly execId = ''
  readonly stdio: StdioPaths
  readonly exited: Promise<Exit>
  readonly #id: string
  readonly #bundle: string
  readonly #runc: Runc
  readonly #restore: InitOptions['restore']
  readonly #streams: ProcessStdio
  readonly #mutex = new Mutex()
  readonly #resolveExit: (exit: Exit) => void
  #pid: number
  #status: ProcessStatus = 'created'
  #exit: Exit | undefined
  #stdinClosed = false

  constructor({ id, bundle, pid, runc, stdio, streams, found, restore }: InitOptions) {
    this.#id = id
    this.#bundle = bundle
    this.#pid = pid
    this.#restore = restore
    this.#runc = runc
    this.stdio = stdio
    this.#streams = streams
    const { promise, resolve } = Promise.withResolvers<Exit>()
    this.exited = promise
    this.#resolveExit = resolve
    if (!found) return
    this.#status = found.status
    this.#exit = found.exit
    this.#stdinClosed = found.stdinClosed
    if (found.exit) resolve(found.exit)
  }

  get pid(): number {
    return this.#pid
  }

  get status(): ProcessStatus {
    return this.#status
  }

  get exit(): Exit | undefined {
    return this.#exit
  }

  /** Whether there is a container to run something in: there is before the user's program runs. */
  get takesExecs(): boolean {
    return this.#status === 'running' || (this.#status === 'created' && !this.#restore)
  }

  /** Runs the user's program; `onStarted` is called before any exit is taken notice of. */
  async start(onStarted: () => void, { signal, deadline }: Work): Promise<void> {
    using _ = await this.#mutex.lock({ signal })
    if (this.#status !== 'created') throw refuse('start', this.#status)
    const setRunning = (): void => {
      this.#status = 'running'
      onStarted()
    }
    if (this.#restore) this.#pid = await this.#restore()
    else await this.#start(patienceUntil(deadline), setRunning)
    setRunning()
  }

  async #start(patience: AbortSignal, setRunning: () => void): Promise<void> {
    const state = this.#runc.stateOf(this.#id)
    if (await startDirectly(this.#runc.binary, state, this.#pid, patience)) return
    try {
      await this.#runc.start(this.#id, patience)
    } catch (err) {
      // The runtime takes this away when it has let the container go, and may hang after that.
      const hasStarted = !existsSync(join(state, 'exec.fifo'))
      if (err instanceof CommandTimeout && hasStarted) setRunning()
      throw runtimeError('OCI runtime start failed', this.#runc.log, err)
    }
  }

  async pause(): Promise<void> {
    using _ = await this.#mutex.lock()
    if (this.#status !== 'running') throw refuse('pause', this.#status)
    this.#status = 'pausing'
    try {
      await this.#runc.pause(this.#id)
      this.#status = 'paused'
    } catch (err) {
      this.#status = 'running'
      throw runtimeError('OCI runtime pause failed', this.#runc.log, err)
    }
  }

  async resume(): Promise<void> {
    using _ = await this.#mutex.lock()
    if (this.#status !== 'paused') throw refuse('resume', this.#status)
    try {
      await this.#runc.resume(this.#id)
    } catch (err) {
      throw runtimeError('OCI runtime resume failed', this.#runc.log, err)
    }
    this.#status = 'running'
  }

  /** Keeps its state in the directory `path`; `options` are runc's `CheckpointOptions`. */
  async checkpoint(path: string, options: CheckpointRequest['options']): Promise<void> {
    using _ = await this.#mutex.lock()
    const status = this.#status
    if (status !== 'running' && status !== 'paused') throw refuse('checkpoint', status)
    await checkpoint({ id: this.#id, bundle: this.#bundle, runc: this.#runc }, path, options)
  }

  async kill(
    number: number,
    all: boolean,
    { signal, deadline }: Partial<Work> = {},
  ): Promise<void> {
    using _ = await this.#mutex.lock(signal ? { signal } : {})
    if (this.#status === 'deleted') throw refuse('kill', this.#status)
    if (this.#status === 'stopped' && !all) throw notFound('process already finished')
    try {
      await this.#runc.kill(this.#id, number, { all, signal: patienceUntil(deadline) })
    } catch (err) {
      // The runtime would do no more for one process, which is a child here, or still to be seen ending.
      if (err instanceof CommandTimeout && !all && this.#exit === undefined) {
        process.kill(this.pid, number)
        return
      }
      throw killError(err)
    }
  }

  /** Ends every process in the container's cgroup. */
  async killAll(): Promise<void> {
    await this.#runc.kill(this.#id, 9, { all: true, signal: patienceUntil(undefined) })
  }

  /** `resources` is the JSON of an OCI `LinuxResources`. */
  async update(resources: Uint8Array): Promise<void> {
    using _ = await this.#mutex.lock()
    if (this.#status === 'stopped' || this.#status === 'deleted') {
      throw refuse('update', this.#status)
    }
    try {
      await this.#runc.update(this.#id, resources)
    } catch (err) {
      throw err instanceof CommandError ? new Error(err.output || err.message) : err
    }
  }

  async pids(): Promise<readonly number[]> {
    return await this.#runc.ps(this.#id)
  }

  resize(size: WindowSize): void {
    this.#streams.resize(size)
  }

  get pipes(): ProcessStdio['pipes'] {
    return this.#streams.pipes
  }

  get terminal(): number | undefined {
    return this.#streams.terminal
  }

  get stdinClosed(): boolean {
    return this.#stdinClosed
  }

  closeStdin(): void {
    this.#stdinClosed = true
    this.#streams.closeStdin()
  }

  /** The process has ended; `onExited` is called before anybody who waits for that is told. */
  async setExited(exit: Exit, onExited: () => void): Promise<void> {
    using _ = await this.#mutex.lock()
    this.#status = 'stopped'
    this.#exit = exit
    this.#streams.closeStdin()
    onExited()
    this.#resolveExit(exit)
  }

  /**
   * Removes what the runtime knows of the container. One that never started is ended first. If the
   * runtime hangs, it is removed without.
   */
  async delete({ signal, deadline }: Work): Promise<Exit> {
    const patience = patienceUntil(deadline)
    if (await this.#discard(patience)) await raceAbort(this.exited, signal)
    using _ = await this.#mutex.lock({ signal })
    if (!this.#exit || this.#status === 'deleted') throw refuse('delete', this.#status)
    await drain(this.#streams)
    try {
      await this.#remove(false, patience)
    } catch (err) {
      if (!isUnknownContainer(err)) throw runtimeError('failed to delete task', this.#runc.log, err)
    }
    this.#streams[Symbol.dispose]()
    this.#status = 'deleted'
    return this.#exit
  }

  async #discard(patience: AbortSignal): Promise<boolean> {
    using _ = await this.#mutex.lock({ signal: patience })
    if (this.#status !== 'created') return false
    await this.#remove(true, patience)
    // One that was to be restored has no process whose end could be waited for.
    if (this.#pid > 0) return true
    this.#status = 'stopped'
    this.#exit = { status: 0, at: new Date() }
    this.#resolveExit(this.#exit)
    return true
  }

  async #remove(force: boolean, patience: AbortSignal): Promise<void> {
    const { binary } = this.#runc
    if (!force && (await deleteDirectly(binary, this.#runc.stateOf(this.#id)))) return
    try {
      await this.#runc.delete(this.#id, { force, signal: patience })
    } catch (err) {
      if (!(err instanceof CommandTimeout)) throw err
      await removeByHand(this.#bundle, this.#runc.stateOf(this.#id))
    }
  }
}
