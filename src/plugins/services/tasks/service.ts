import type { ContainerStore } from '#core/containers/containers.ts'
import { type Context, namespaceOf } from '#core/context.ts'
import type { CreateOptions, Exit, Task, TaskManager } from '#core/runtime/runtime.ts'
import { CodedError, alreadyExists, hasCode } from '#lib/errors/errors.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { MetadataPlugin, RuntimePlugin, TasksService } from '#plugins/types.ts'

/**
 * Tasks as clients see them: each belongs to a container that the metadata knows.
 *
 * The runtime behind it is disposed by its own plugin.
 */
export class ContainerTaskManager implements TaskManager {
  readonly #containers: ContainerStore
  readonly #runtime: TaskManager

  constructor(containers: ContainerStore, runtime: TaskManager) {
    this.#containers = containers
    this.#runtime = runtime
  }

  async create(ctx: Context, id: string, options: CreateOptions): Promise<Task> {
    if (await this.#exists(ctx, id)) throw alreadyExists(`task ${id}`)
    return await this.#runtime.create(ctx, id, options)
  }

  async get(ctx: Context, id: string): Promise<Task> {
    await this.#containers.get(ctx, id)
    try {
      return await this.#runtime.get(ctx, id)
    } catch (err) {
      throw new CodedError('not_found', `task ${id} not found`, { cause: err })
    }
  }

  async list(ctx: Context): Promise<readonly Task[]> {
    namespaceOf(ctx)
    return await this.#runtime.list(ctx)
  }

  async delete(ctx: Context, id: string): Promise<Exit> {
    await this.get(ctx, id)
    return await this.#runtime.delete(ctx, id)
  }

  async #exists(ctx: Context, id: string): Promise<boolean> {
    try {
      await this.#runtime.get(ctx, id)
      return true
    } catch (err) {
      if (!hasCode(err, 'not_found')) throw err
      return false
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** `io.containerd.service.v1.tasks-service`. */
export const tasksServicePlugin = definePlugin({
  type: TasksService,
  id: 'tasks-service',
  requires: { runtime: RuntimePlugin, metadata: MetadataPlugin },
  init: ({ deps }) => new ContainerTaskManager(deps.metadata.containers, deps.runtime),
})
