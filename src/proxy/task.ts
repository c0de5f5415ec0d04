import type { Any } from '#core/any/any.ts'
import type { Context } from '#core/context.ts'
import type { Exit, ProcessState, Stdio, Task } from '#core/runtime/runtime.ts'
import type { Tasks } from '#gen/services/tasks_pb.ts'
import { CheckpointOptionsSchema } from '#gen/types/runc-options_pb.ts'
import { notFound } from '#lib/errors/errors.ts'
import type { ServiceClient } from '#lib/rpc/rpc.ts'

import { callOptions } from './call.ts'
import { anyFromProto } from './convert/any.ts'
import { pack, unpack } from './convert/pack.ts'
import { processFromProto } from './convert/process.ts'
import { timestampFromProto } from './convert/timestamp.ts'

/** Which task it is. */
export interface TaskIdentity {
  readonly id: string
  readonly namespace: string
  readonly pid: number
}

/** A task of another daemon. */
export class RemoteTask implements Task {
  readonly id: string
  readonly namespace: string
  readonly pid: number
  readonly #client: ServiceClient<typeof Tasks>

  constructor(client: ServiceClient<typeof Tasks>, identity: TaskIdentity) {
    this.#client = client
    this.id = identity.id
    this.namespace = identity.namespace
    this.pid = identity.pid
  }

  async state(ctx: Context, execId = ''): Promise<ProcessState> {
    const { process } = await this.#client.get(this.#request({ execId }), callOptions(ctx))
    return processFromProto(process, this.id)
  }

  async start(ctx: Context, execId = ''): Promise<number> {
    const { pid } = await this.#client.start(this.#request({ execId }), callOptions(ctx))
    return pid
  }

  async kill(
    ctx: Context,
    options: { readonly signal: number; readonly all?: boolean; readonly execId?: string },
  ): Promise<void> {
    const { signal, all = false, execId = '' } = options
    await this.#client.kill(this.#request({ signal, all, execId }), callOptions(ctx))
  }

  async exec(ctx: Context, execId: string, options: Stdio & { readonly spec: Any }): Promise<void> {
    const { spec, stdin, stdout, stderr, terminal } = options
    const request = this.#request({ execId, spec, stdin, stdout, stderr, terminal })
    await this.#client.exec(request, callOptions(ctx))
  }

  async deleteExec(ctx: Context, execId: string): Promise<Exit> {
    const { pid, exitStatus, exitedAt } = await this.#client.deleteProcess(
      this.#request({ execId }),
      callOptions(ctx),
    )
    return { pid, status: exitStatus, exitedAt: timestampFromProto(exitedAt) }
  }

  async resizePty(
    ctx: Context,
    size: { readonly width: number; readonly height: number; readonly execId?: string },
  ): Promise<void> {
    const { width, height, execId = '' } = size
    await this.#client.resizePty(this.#request({ width, height, execId }), callOptions(ctx))
  }

  async closeStdin(ctx: Context, execId = ''): Promise<void> {
    await this.#client.closeIO(this.#request({ execId, stdin: true }), callOptions(ctx))
  }

  async pause(ctx: Context): Promise<void> {
    await this.#client.pause(this.#request({}), callOptions(ctx))
  }

  async resume(ctx: Context): Promise<void> {
    await this.#client.resume(this.#request({}), callOptions(ctx))
  }

  async pids(
    ctx: Context,
  ): Promise<readonly { readonly pid: number; readonly info?: Any | undefined }[]> {
    const { processes } = await this.#client.listPids(this.#request({}), callOptions(ctx))
    return processes.map(({ pid, info }) => ({ pid, info: anyFromProto(info) }))
  }

  /** `path` goes into the options, which are runc's: the request has no field for it. */
  async checkpoint(ctx: Context, path: string, options?: Any): Promise<void> {
    const given = options ? unpack(CheckpointOptionsSchema, options) : {}
    const withPath = pack(CheckpointOptionsSchema, { ...given, imagePath: path })
    await this.#client.checkpoint(this.#request({ options: withPath }), callOptions(ctx))
  }

  async update(
    ctx: Context,
    resources: Any,
    annotations: Readonly<Record<string, string>>,
  ): Promise<void> {
    const request = this.#request({ resources, annotations: { ...annotations } })
    await this.#client.update(request, callOptions(ctx))
  }

  async stats(ctx: Context): Promise<Any> {
    const request = { filters: [`id==${JSON.stringify(this.id)}`] }
    const { metrics } = await this.#client.metrics(request, callOptions(ctx))
    const stats = anyFromProto(metrics[0]?.data)
    if (!stats) throw notFound(`metrics of task ${this.id}`)
    return stats
  }

  async wait(ctx: Context, execId = ''): Promise<Exit> {
    const request = this.#request({ execId })
    const { exitStatus, exitedAt } = await this.#client.wait(request, callOptions(ctx))
    return { pid: this.pid, status: exitStatus, exitedAt: timestampFromProto(exitedAt) }
  }

  #request<T extends object>(fields: T): T & { readonly containerId: string } {
    return { ...fields, containerId: this.id }
  }
}
