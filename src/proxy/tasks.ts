import type { Context } from '#core/context.ts'
import type { CreateOptions, Exit, Task, TaskManager } from '#core/runtime/runtime.ts'
import { type DeleteResponse, Tasks } from '#gen/services/tasks_pb.ts'
import type { Connection, ServiceClient } from '#lib/rpc/rpc.ts'

import { callOptions } from './call.ts'
import { mountsToProto } from './convert/mount.ts'
import { timestampFromProto } from './convert/timestamp.ts'
import { RemoteTask } from './task.ts'

/** What a client says of a new task; the rest is in the record of its container. */
export type RemoteCreateOptions = Pick<
  CreateOptions,
  'rootfs' | 'stdin' | 'stdout' | 'stderr' | 'terminal' | 'taskOptions'
> & {
  /** Path of a shim to use instead of the container's runtime; empty for none. */
  readonly runtimePath?: string
}

/** The tasks of another daemon. */
export class RemoteTaskManager implements Pick<TaskManager, 'get' | 'list' | 'delete'> {
  readonly #client: ServiceClient<typeof Tasks>

  constructor(connection: Connection) {
    this.#client = connection.client(Tasks)
  }

  /** As `TaskManager.create`; what to run is in the container's record. */
  async create(ctx: Context, containerId: string, options: RemoteCreateOptions): Promise<Task> {
    const { rootfs, stdin, stdout, stderr, terminal, taskOptions, runtimePath = '' } = options
    const request = {
      containerId,
      rootfs: mountsToProto(rootfs),
      stdin,
      stdout,
      stderr,
      terminal,
      runtimePath,
      options: taskOptions,
    }
    const { pid } = await this.#client.create(request, callOptions(ctx))
    return this.#task(ctx, containerId, pid)
  }

  async get(ctx: Context, containerId: string): Promise<Task> {
    const { process } = await this.#client.get({ containerId }, callOptions(ctx))
    return this.#task(ctx, containerId, process?.pid ?? 0)
  }

  async list(ctx: Context): Promise<readonly Task[]> {
    const { tasks } = await this.#client.list({}, callOptions(ctx))
    return tasks.map(({ id, pid }) => this.#task(ctx, id, pid))
  }

  async delete(ctx: Context, containerId: string): Promise<Exit> {
    return exitOf(await this.#client.delete({ containerId }, callOptions(ctx)))
  }

  #task(ctx: Context, id: string, pid: number): Task {
    return new RemoteTask(this.#client, { id, pid, namespace: ctx.namespace ?? '' })
  }
}

/** How a deleted process had ended. */
const exitOf = ({ pid, exitStatus, exitedAt }: DeleteResponse): Exit => ({
  pid,
  status: exitStatus,
  exitedAt: timestampFromProto(exitedAt),
})
