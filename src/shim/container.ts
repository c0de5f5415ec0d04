import {
  TaskDeleteSchema,
  TaskExecAddedSchema,
  TaskExecStartedSchema,
  TaskExitSchema,
  TaskOOMSchema,
  TaskPausedSchema,
  TaskResumedSchema,
  TaskStartSchema,
} from '#gen/events/task_pb.ts'
import { alreadyExists, describe, failedPrecondition, notFound } from '#lib/errors/errors.ts'
import type { CgroupMoves } from '#sys/cgroup-moves.ts'
import { cgroupPathsIn, cgroupsText } from '#sys/cgroup.ts'
import type { MountInfo } from '#sys/mount-info.ts'
import { lives } from '#sys/process-end.ts'

import { sharesPidNamespace } from './bundle.ts'
import { type ExecOptions, ExecProcess } from './exec-process.ts'
import type { InitProcess } from './init-process.ts'
import type { HostLog } from './log.ts'
import { type TaskProcess, refuse } from './process.ts'
import type { MemoryWatch, OomWatch } from './oom/oom-watch.ts'
import type { EventPublisher } from './publisher.ts'
import { type Exit, type Reaper, unknownStatus } from './reaper.ts'
import type { ContainerRecord } from './record.ts'
import { Recorder } from './recorder.ts'
import type { Rootfs, RootfsMounts } from './rootfs.ts'
import type { Runc } from './runc/runc.ts'
import type { Stats } from './stats/stats.ts'
import type { StdioPaths, StreamOwner } from './stdio/stdio.ts'
import { toTimestamp } from './timestamp.ts'
import type { Work } from './work.ts'

/** What all containers of a host share. */
export interface HostServices {
  readonly namespace: string
  readonly reaper: Reaper
  readonly rootfs: RootfsMounts
  readonly oom: OomWatch
  readonly cgroupMounts: readonly MountInfo[]
  /** For those of the OCI runtime. */
  readonly moves: CgroupMoves
  readonly events: EventPublisher
  readonly env: NodeJS.ProcessEnv
  readonly log: HostLog
}

/** What a container is made of when the OCI runtime has created it. */
export interface ContainerParts {
  readonly id: string
  readonly bundle: string
  readonly rootfs: Rootfs
  readonly runc: Runc
  readonly init: InitProcess
  readonly streamOwner: StreamOwner
  /** Another host has made it. */
  readonly adopted?: boolean
}

/**
 * A container and its processes. It publishes what happens to them, in containerd's order: start,
 * the exits of execs, the exit of init, delete. That memory ran out is told before the exit of the
 * process that was killed for it.
 */
export class Container {
  readonly id: string
  readonly bundle: string
  readonly init: InitProcess
  readonly #parts: ContainerParts
  readonly #services: HostServices
  readonly #execs = new Map<string, ExecProcess>()
  readonly #recorder: Recorder
  /** The control groups, which it keeps for its life, as the kernel writes them. */
  #groups: string | undefined
  #memory: MemoryWatch | undefined
  #initEnded = false

  constructor(parts: ContainerParts, services: HostServices) {
    this.id = parts.id
    this.bundle = parts.bundle
    this.init = parts.init
    this.#parts = parts
    this.#services = services
    this.#recorder = new Recorder({
      bundle: parts.bundle,
      init: parts.init,
      execs: () => this.#execs.values(),
      log: services.log.with({ id: parts.id }),
    })
    // The record of an adopted one also names its execs, which are still to be added.
    if (!parts.adopted) this.record()
    if (parts.init.exit) this.#initEnded = true
    else if (parts.init.pid > 0) this.#watchInit()
  }

  #watchInit(): void {
    this.#watchMemory()
    this.#services.reaper.watch(this.init.pid, (exit) => {
      this.#initEnded = true
      void this.#onInitExit(exit)
    })
  }

  /** Whether it has ended, and somebody else has removed its bundle, or made a new one there. */
  get isRemoved(): boolean {
    return this.init.status === 'stopped' && this.#recorder.isLost
  }

  /** Writes down how it is now, for a new host. */
  record(): void {
    this.#recorder.write()
  }

  /** Goes on with an exec that another host has started. */
  async adoptExec({ execId, pid, ...record }: ContainerRecord['execs'][number]): Promise<void> {
    const options = this.#execOptions(execId, record.stdio, new Uint8Array())
    const exec = await ExecProcess.adopted(options, pid, record)
    this.#execs.set(execId, exec)
    if (exec.exit) return
    const onExit = (exit: Exit): void => void this.#onExecExit(exec, exit)
    if (record.identity && lives(record.identity)) this.#services.reaper.watch(pid, onExit)
    else onExit({ status: unknownStatus, at: new Date() })
  }

  /** The process with this exec id, the init process for an empty one. @throws `not_found` */
  process(execId: string): TaskProcess & (InitProcess | ExecProcess) {
    return execId === '' ? this.init : this.#exec(execId)
  }

  #exec(execId: string): ExecProcess {
    const exec = this.#execs.get(execId)
    if (!exec) throw notFound(`process does not exist ${execId}`)
    return exec
  }

  /** Starts the init process or an exec. @returns its pid. */
  async start(execId: string, work: Work): Promise<number> {
    if (execId !== '') return await this.#startExec(this.#exec(execId), work)
    const isRestored = this.init.pid === 0
    await this.init.start(() => {
      const { pid } = this.init
      this.#services.events.publish('/tasks/start', TaskStartSchema, { containerId: this.id, pid })
      if (!isRestored) return
      this.record()
      this.#watchInit()
    }, work)
    return this.init.pid
  }

  #watchMemory(): void {
    const { oom, events, log } = this.#services
    try {
      this.#memory = oom.watch(this.#findGroups(), () => {
        events.publish('/tasks/oom', TaskOOMSchema, { containerId: this.id })
      })
    } catch (err) {
      log.warn('nobody will be told if memory runs out', { id: this.id, error: describe(err) })
    }
  }

  #findGroups(): ReadonlyMap<string, string> {
    try {
      this.#groups ??= cgroupsText(this.init.pid)
      return cgroupPathsIn(this.#groups, this.#services.cgroupMounts)
    } catch (err) {
      throw notFound('cgroup does not exist', { cause: err })
    }
  }

  async #startExec(exec: ExecProcess, work: Work): Promise<number> {
    if (this.#initEnded) {
      throw failedPrecondition(`container ${this.id} init process is not running`)
    }
    const { events, reaper } = this.#services
    await exec.start(() => {
      const { pid, execId } = exec
      events.publish('/tasks/exec-started', TaskExecStartedSchema, {
        containerId: this.id,
        execId,
        pid,
      })
      this.#recorder.writeFor(exec)
      reaper.watch(pid, (exit) => void this.#onExecExit(exec, exit))
    }, work)
    return exec.pid
  }

  /** Adds an exec, which `start` runs. @throws `already_exists` */
  exec(execId: string, stdio: StdioPaths, spec: Uint8Array): void {
    if (this.#execs.has(execId)) throw alreadyExists(`id ${execId}`)
    if (!this.init.takesExecs) throw refuse('exec', this.init.status)
    const { id: containerId } = this
    this.#execs.set(execId, new ExecProcess(this.#execOptions(execId, stdio, spec)))
    this.#services.events.publish('/tasks/exec-added', TaskExecAddedSchema, { containerId, execId })
  }

  #execOptions(execId: string, stdio: StdioPaths, spec: Uint8Array): ExecOptions {
    const { id: containerId, bundle } = this
    const { runc, streamOwner } = this.#parts
    const { namespace } = this.#services
    const owner = { id: execId, namespace, ...streamOwner }
    const log = this.#services.log.with({ id: containerId, exec: execId })
    return { containerId, execId, bundle, owner, runc, stdio, spec, log }
  }

  async pause(): Promise<void> {
    await this.init.pause()
    this.record()
    this.#services.events.publish('/tasks/paused', TaskPausedSchema, { containerId: this.id })
  }

  async resume(): Promise<void> {
    await this.init.resume()
    this.record()
    this.#services.events.publish('/tasks/resumed', TaskResumedSchema, { containerId: this.id })
  }

  /** Every process, and the exec id of those that are execs. */
  async pids(): Promise<readonly { readonly pid: number; readonly execId: string }[]> {
    const execs = new Map(this.#execs.values().map((exec) => [exec.pid, exec.execId]))
    const pids = await this.init.pids()
    return pids.map((pid) => ({ pid, execId: execs.get(pid) ?? '' }))
  }

  /** What the container uses. @throws `not_found` when it has ended before it was ever asked. */
  async stats(): Promise<Stats> {
    const { readStats } = await import('./stats/stats.ts')
    return readStats(this.#findGroups())
  }

  /** Forgets an exec that has ended. */
  async deleteExec(execId: string): Promise<ExecProcess> {
    const exec = this.#exec(execId)
    await exec.delete()
    this.#execs.delete(execId)
    this.#recorder.forget(exec.pid)
    this.#recorder.writeFor(exec)
    return exec
  }

  /** Removes the container when its init has ended, or was never started. */
  async delete(work: Work): Promise<void> {
    const exit = await this.init.delete(work)
    for (const exec of this.#execs.values()) void this.#letGo(exec)
    this.#recorder.remove()
    this.#memory?.[Symbol.dispose]()
    this.#parts.rootfs.release()
    this.#services.events.publish('/tasks/delete', TaskDeleteSchema, {
      containerId: this.id,
      pid: this.init.pid,
      exitStatus: exit.status,
      exitedAt: toTimestamp(exit.at),
    })
  }

  /** Closes the streams of an exec that nobody has deleted: whoever began it may be gone. */
  async #letGo(exec: ExecProcess): Promise<void> {
    try {
      if (exec.isStarted) await exec.exited
      await exec.release()
    } catch (err) {
      const { log } = this.#services
      const what = { id: this.id, exec: exec.execId, error: describe(err) }
      log.error('cannot close the streams of an exec', what)
    }
  }

  /** Init's exit is told when the execs' are; without a pid namespace they have to be ended. */
  async #onInitExit(exit: Exit): Promise<void> {
    this.#memory?.look()
    try {
      if (sharesPidNamespace(this.bundle)) await this.init.killAll()
    } catch (err) {
      const { log } = this.#services
      log.error("failed to kill init's children", { id: this.id, error: describe(err) })
    }
    const started = [...this.#execs.values()].filter((exec) => exec.isStarted)
    await Promise.all(started.map(async (exec) => await exec.exited))
    await this.init.setExited(exit, () => {
      this.record()
      this.#publishExit(this.init, exit)
    })
  }

  async #onExecExit(exec: ExecProcess, exit: Exit): Promise<void> {
    this.#memory?.look()
    await exec.setExited(exit, () => this.#publishExit(exec, exit))
    this.#recorder.writeFor(exec)
  }

  #publishExit({ pid, execId }: TaskProcess, exit: Exit): void {
    this.#services.events.publish('/tasks/exit', TaskExitSchema, {
      containerId: this.id,
      id: execId || this.id,
      pid,
      exitStatus: exit.status,
      exitedAt: toTimestamp(exit.at),
    })
  }
}
