import { setTimeout as sleep } from 'node:timers/promises'

import { create, toBinary } from '@bufbuild/protobuf'
import type { Any } from '@bufbuild/protobuf/wkt'

import { Task as TaskV2 } from '#gen/shim/task-v2_pb.ts'
import type {
  CheckpointTaskRequest,
  CloseIORequest,
  CreateTaskRequest,
  DeleteRequest,
  ExecProcessRequest,
  KillRequest,
  ResizePtyRequest,
  StateRequest,
  UpdateTaskRequest,
} from '#gen/shim/task-v3_pb.ts'
import { Task as TaskV3 } from '#gen/shim/task-v3_pb.ts'
import { ProcessDetailsSchema } from '#gen/types/runc-options_pb.ts'
import { Status } from '#gen/types/task_pb.ts'
import { raceAbort } from '#lib/async/mutex.ts'
import { alreadyExists, invalidArgument, notFound } from '#lib/errors/errors.ts'
import { type RegisteredService, implement } from '#lib/rpc/rpc.ts'

import { adoptContainers } from './adopt.ts'
import { readSandbox } from './bundle.ts'
import type { Container, HostServices } from './container.ts'
import { createContainer } from './create.ts'
import type { InitProcess } from './init-process.ts'
import type { ProcessStatus, TaskProcess } from './process.ts'
import { toTimestamp } from './timestamp.ts'
import type { Work } from './work.ts'

/** A request as both versions of the service have it. */
type Request<T> = Omit<T, '$typeName' | '$unknown'>
type Named = { readonly id: string }
type NamedProcess = Named & { readonly execId: string }

/** What the service tells its host. */
export interface TaskServiceOptions {
  readonly services: HostServices
  /** A client says it has no more use for this host; only called when no container is left. */
  readonly onShutdown: (now: boolean) => void
}

/** How long the state of a container waits that comes or goes, ms: that may hang. */
const changeMs = 1_000

const statuses: Readonly<Record<ProcessStatus, Status>> = {
  created: Status.CREATED,
  running: Status.RUNNING,
  pausing: Status.PAUSING,
  paused: Status.PAUSED,
  stopped: Status.STOPPED,
  deleted: Status.UNKNOWN,
}

/** `containerd.task.v2.Task` and `containerd.task.v3.Task` for all containers of a host. */
export class TaskService {
  readonly #options: TaskServiceOptions
  /** `undefined` while a container is being created. */
  readonly #containers = new Map<string, Container | undefined>()
  /** Creations and deletions under way. */
  readonly #changes = new Map<string, Promise<unknown>>()

  constructor(options: TaskServiceOptions) {
    this.#options = options
  }

  /** How many containers there are, those being created included. */
  get size(): number {
    this.#forgetRemoved()
    return this.#containers.size
  }

  /** Goes on with the containers of a host that was killed; `dir` has their bundles. */
  async adopt(dir: string, socket: string): Promise<void> {
    const adopted = await adoptContainers(dir, socket, this.#options.services)
    for (const container of adopted) this.#containers.set(container.id, container)
  }

  /** Of containers that the `delete` command has removed behind our back. */
  #forgetRemoved(): void {
    for (const [id, container] of this.#containers) {
      if (container?.isRemoved) this.#containers.delete(id)
    }
  }

  /** The init processes of the containers that have joined a sandbox. */
  membersOf(sandbox: string): readonly InitProcess[] {
    const containers = [...this.#containers.values()].filter((each) => each !== undefined)
    return containers
      .filter(({ bundle }) => readSandbox(bundle) === sandbox)
      .map(({ init }) => init)
  }

  /** Both versions, for a server. */
  services(): readonly RegisteredService<Work>[] {
    const methods = this.#methods()
    return [implement(TaskV3, methods), implement(TaskV2, methods)]
  }

  #methods() {
    return {
      create: this.#create.bind(this),
      state: this.#state.bind(this),
      start: this.#start.bind(this),
      delete: this.#delete.bind(this),
      pids: this.#pids.bind(this),
      pause: this.#pause.bind(this),
      resume: this.#resume.bind(this),
      checkpoint: this.#checkpoint.bind(this),
      kill: this.#kill.bind(this),
      exec: this.#exec.bind(this),
      resizePty: this.#resizePty.bind(this),
      closeIO: this.#closeIO.bind(this),
      update: this.#update.bind(this),
      wait: this.#wait.bind(this),
      stats: this.#stats.bind(this),
      connect: this.#connect.bind(this),
      shutdown: this.#shutdown.bind(this),
    }
  }

  async #create(request: Request<CreateTaskRequest>, work: Work): Promise<{ pid: number }> {
    const { id } = request
    this.#forgetRemoved()
    if (this.#containers.has(id)) throw alreadyExists(`container ${id}`)
    this.#containers.set(id, undefined)
    const { log, moves } = this.#options.services
    void moves.expect()
    log.attach(request.bundle)
    const creating = createContainer(request, this.#options.services, work)
    this.#note(id, creating)
    try {
      const container = await creating
      this.#containers.set(id, container)
      return { pid: container.init.pid }
    } catch (err) {
      this.#containers.delete(id)
      log.detach(request.bundle)
      throw err
    }
  }

  /** Remembers that a container comes or goes. */
  #note(id: string, change: Promise<unknown>): void {
    const settled = Promise.allSettled([change]).finally(() => {
      if (this.#changes.get(id) === settled) this.#changes.delete(id)
    })
    this.#changes.set(id, settled)
  }

  /**
   * One that comes or goes is told of when it is there, or is not: a daemon that has just started asks, and
   * would keep, or clean up, what the requests of its predecessor still change.
   */
  async #state({ id, execId }: Request<StateRequest>) {
    const change = this.#changes.get(id)
    if (change) await Promise.race([change, sleep(changeMs, undefined, { ref: false })])
    const { bundle, process } = this.#find(id, execId)
    const { pid, status, stdio, exit } = process
    return {
      id: execId || id,
      bundle,
      pid,
      status: statuses[status],
      ...stdio,
      exitStatus: exit?.status ?? 0,
      exitedAt: exit && toTimestamp(exit.at),
      execId,
    }
  }

  async #start({ id, execId }: NamedProcess, work: Work): Promise<{ pid: number }> {
    if (execId !== '') void this.#options.services.moves.expect()
    return { pid: await this.#container(id).start(execId, work) }
  }

  async #delete({ id, execId }: Request<DeleteRequest>, work: Work) {
    const container = this.#container(id)
    if (execId !== '') return toExit(await container.deleteExec(execId))
    const deleting = this.#remove(container, work)
    this.#note(id, deleting)
    await deleting
    return toExit(container.init)
  }

  async #remove(container: Container, work: Work): Promise<void> {
    await container.delete(work)
    this.#containers.delete(container.id)
    this.#options.services.log.detach(container.bundle)
  }

  async #pids({ id }: Named) {
    const pids = await this.#container(id).pids()
    return {
      processes: pids.map(({ pid, execId }) => (execId ? { pid, info: details(execId) } : { pid })),
    }
  }

  async #pause({ id }: Named) {
    await this.#container(id).pause()
    return {}
  }

  async #resume({ id }: Named) {
    await this.#container(id).resume()
    return {}
  }

  async #checkpoint({ id, path, options }: Request<CheckpointTaskRequest>) {
    await this.#container(id).init.checkpoint(path, options)
    return {}
  }

  async #kill({ id, execId, signal, all }: Request<KillRequest>, work: Work) {
    await this.#find(id, execId).process.kill(signal, all, work)
    return {}
  }

  #exec({ id, execId, spec, ...stdio }: Request<ExecProcessRequest>) {
    if (!spec) throw invalidArgument('exec spec is required')
    const { stdin, stdout, stderr, terminal } = stdio
    void this.#options.services.moves.expect()
    this.#container(id).exec(execId, { stdin, stdout, stderr, terminal }, spec.value)
    return {}
  }

  #resizePty({ id, execId, width, height }: Request<ResizePtyRequest>) {
    this.#find(id, execId).process.resize({ width, height })
    return {}
  }

  #closeIO({ id, execId, stdin }: Request<CloseIORequest>) {
    const { process } = this.#find(id, execId)
    if (!stdin) return {}
    process.closeStdin()
    this.#container(id).record()
    return {}
  }

  async #update({ id, resources }: Request<UpdateTaskRequest>) {
    if (!resources) throw invalidArgument('resources are required')
    await this.#container(id).init.update(resources.value)
    return {}
  }

  async #wait({ id, execId }: NamedProcess, { signal }: Work) {
    const { process } = this.#find(id, execId)
    const { status, at } = await raceAbort(process.exited, signal)
    return { exitStatus: status, exitedAt: toTimestamp(at) }
  }

  async #stats({ id }: Named) {
    const { typeUrl, value } = await this.#container(id).stats()
    return { stats: { typeUrl, value } }
  }

  #connect({ id }: Named) {
    const taskPid = this.#containers.get(id)?.init.pid ?? 0
    return { shimPid: process.pid, taskPid, version: '' }
  }

  #shutdown({ now }: Named & { readonly now: boolean }) {
    if (this.size === 0) this.#options.onShutdown(now)
    return {}
  }

  #container(id: string): Container {
    const container = this.#containers.get(id)
    if (!container) throw notFound('container not created')
    return container
  }

  #find(id: string, execId: string) {
    const container = this.#container(id)
    return { bundle: container.bundle, process: container.process(execId) }
  }
}

const toExit = ({ pid, exit }: TaskProcess) => ({
  pid,
  exitStatus: exit?.status ?? 0,
  exitedAt: exit && toTimestamp(exit.at),
})

const details = (execId: string): Pick<Any, 'typeUrl' | 'value'> => ({
  typeUrl: ProcessDetailsSchema.typeName,
  value: toBinary(ProcessDetailsSchema, create(ProcessDetailsSchema, { execId })),
})
