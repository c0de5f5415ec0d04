import { rmSync } from 'node:fs'
import { join } from 'node:path'

import type { Logger } from '#core/context.ts'
import { Mutex } from '#lib/async/mutex.ts'
import { failedPrecondition, notFound } from '#lib/errors/errors.ts'
import { isErrno } from '#sys/errno.ts'
import type { WindowSize } from '#sys/pty.ts'

import { execPidFile, readPid } from './bundle.ts'
import { patienceUntil } from './patience.ts'
import { type ProcessStatus, type TaskProcess, refuse } from './process.ts'
import type { Exit } from './reaper.ts'
import { type ProcessRecord, toExit } from './record.ts'
import type { Runc } from './runc/runc.ts'
import { runtimeError } from './runc/runtime-error.ts'
import { adoptStdio } from './stdio/adopt-stdio.ts'
import { drain } from './stdio/drain.ts'
import { openStdio } from './stdio/open.ts'
import type { ProcessOwner, ProcessStdio, StdioPaths } from './stdio/stdio.ts'
import type { Work } from './work.ts'
import { writeFile } from './write-file.ts'

export interface ExecOptions {
  readonly containerId: string
  readonly execId: string
  readonly bundle: string
  readonly owner: ProcessOwner
  readonly runc: Runc
  readonly stdio: StdioPaths
  /** The JSON of an OCI `Process`. */
  readonly spec: Uint8Array
  readonly log: Logger
}

/** The status of an exec that the runtime could not start. */
const neverStarted = 255

/** A further process in a container: created ─ start → running ─ exit → stopped ─ delete → deleted. */
export class ExecProcess implements TaskProcess {
  readonly execId: string
  readonly stdio: StdioPaths
  readonly exited: Promise<Exit>
  readonly #options: ExecOptions
  readonly #mutex = new Mutex()
  readonly #resolveExit: (exit: Exit) => void
  #streams: ProcessStdio | undefined
  #status: ProcessStatus = 'created'
  #asked = false
  #pid = 0
  #exit: Exit | undefined
  #stdinClosed = false

  constructor(options: ExecOptions) {
    this.#options = options
    this.execId = options.execId
    this.stdio = options.stdio
    const { promise, resolve } = Promise.withResolvers<Exit>()
    this.exited = promise
    this.#resolveExit = resolve
  }

  /** One that another host has started; whether it still runs is for the caller to say. */
  static async adopted(
    options: ExecOptions,
    pid: number,
    record: ProcessRecord,
  ): Promise<ExecProcess> {
    const exec = new ExecProcess(options)
    exec.#asked = true
    exec.#pid = pid
    exec.#status = 'running'
    exec.#stdinClosed = record.stdinClosed
    const exit = toExit(record)
    const { stdio: paths, stdinClosed, pipes } = record
    const found = { paths, stdinClosed, pipes, pid, ended: exit !== undefined }
    exec.#streams = await adoptStdio(options.bundle, found, options.owner, options.log)
    if (exit) exec.#settle(exit)
    return exec
  }

  get pid(): number {
    return this.#pid
  }

  get pipes(): ProcessStdio['pipes'] {
    return this.#streams?.pipes
  }

  get terminal(): number | undefined {
    return this.#streams?.terminal
  }

  get stdinClosed(): boolean {
    return this.#stdinClosed
  }

  get status(): ProcessStatus {
    return this.#status
  }

  get exit(): Exit | undefined {
    return this.#exit
  }

  /** Whether it was ever asked to start: its exit is then still to come, or known. */
  get isStarted(): boolean {
    return this.#asked
  }

  /** Runs the program; `onStarted` is called before any exit is taken notice of. */
  async start(onStarted: () => void, { signal, deadline }: Work): Promise<void> {
    using _ = await this.#mutex.lock({ signal })
    if (this.#status !== 'created') throw refuse('start', this.#status)
    this.#asked = true
    try {
      this.#pid = await this.#run(patienceUntil(deadline))
    } catch (err) {
      this.#settle({ status: neverStarted, at: new Date() })
      throw err
    }
    this.#status = 'running'
    onStarted()
  }

  async #run(patience: AbortSignal): Promise<number> {
    const { containerId, execId, bundle, owner, runc, spec, stdio, log } = this.#options
    using undo = new DisposableStack()
    const streams = undo.use(await openStdio(stdio, owner, log))
    const pidFile = execPidFile(bundle, execId)
    const processFile = join(bundle, `${execId}.process.json`)
    undo.defer(() => rmSync(processFile, { force: true }))
    writeFile(processFile, withTerminal(spec, stdio.terminal))
    try {
      const { fds, consoleSocket } = streams
      const own = { process: processFile, pidFile, signal: patience }
      const options = { ...own, consoleSocket, stdio: fds }
      await runc.exec(containerId, options)
    } catch (err) {
      throw runtimeError('OCI runtime exec failed', runc.log, err)
    }
    rmSync(processFile, { force: true })
    const pid = readPid(pidFile)
    undo.defer(() => killIfAny(pid))
    await streams.handedOver()
    this.#streams = streams
    // A client may have come to the end of its input while the program was being started.
    if (this.#stdinClosed) streams.closeStdin()
    undo.move()
    return pid
  }

  async kill(signal: number): Promise<void> {
    using _ = await this.#mutex.lock()
    if (this.#status === 'deleted') throw refuse('kill', this.#status)
    if (this.#exit) throw notFound('process already finished')
    if (this.#pid === 0) throw failedPrecondition('process not created')
    try {
      process.kill(this.#pid, signal)
    } catch (err) {
      if (!isErrno(err, 'ESRCH')) throw err
      throw notFound('exec kill error: process already finished', { cause: err })
    }
  }

  resize(size: WindowSize): void {
    this.#streams?.resize(size)
  }

  closeStdin(): void {
    this.#stdinClosed = true
    this.#streams?.closeStdin()
  }

  /** The process has ended; `onExited` is called before anybody who waits for that is told. */
  async setExited(exit: Exit, onExited: () => void): Promise<void> {
    using _ = await this.#mutex.lock()
    this.#streams?.closeStdin()
    onExited()
    this.#settle(exit)
  }

  #settle(exit: Exit): void {
    this.#status = 'stopped'
    this.#exit = exit
    this.#resolveExit(exit)
  }

  /** Forgets the process. */
  async delete(): Promise<void> {
    using _ = await this.#mutex.lock()
    if (this.#status === 'running' || this.#status === 'deleted') {
      throw refuse('delete', this.#status)
    }
    await this.#close()
    rmSync(execPidFile(this.#options.bundle, this.execId), { force: true })
  }

  /** Forgets a process that has ended with its container; the bundle may be another one's by now. */
  async release(): Promise<void> {
    using _ = await this.#mutex.lock()
    await this.#close()
  }

  async #close(): Promise<void> {
    if (this.#streams) await drain(this.#streams)
    this.#streams?.[Symbol.dispose]()
    this.#status = 'deleted'
  }
}

function killIfAny(pid: number): void {
  try {
    if (pid > 0) process.kill(pid, 'SIGKILL')
  } catch (err) {
    if (!isErrno(err, 'ESRCH')) throw err
  }
}

/**
 * The process with `terminal` as the request says. Numbers keep their digits: limits can be larger
 * than a double holds exactly.
 */
function withTerminal(spec: Uint8Array, terminal: boolean): string {
  const text = Buffer.from(spec).toString()
  const keepDigits = (_key: string, value: unknown, context?: { source?: string }): unknown =>
    typeof value === 'number' && context?.source ? rawJson(context.source) : value
  const process: Record<string, unknown> = JSON.parse(text, keepDigits)
  return JSON.stringify({ ...process, terminal })
}

/** Of ES2026, and not in the types yet. */
const rawJson: (source: string) => unknown = Reflect.get(JSON, 'rawJSON')
