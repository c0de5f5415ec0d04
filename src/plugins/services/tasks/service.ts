import { existsSync } from 'node:fs'

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

/** `[plugins."io.containerd.service.v1.tasks-service"]` in config.toml. */
export interface TasksConfig {
  readonly blockioConfigFile: string
  readonly rdtConfigFile: string
}

const defaults: TasksConfig = { blockioConfigFile: '', rdtConfigFile: '' }

/** `io.containerd.service.v1.tasks-service`. */
export const tasksServicePlugin = definePlugin({
  type: TasksService,
  id: 'tasks-service',
  requires: { runtime: RuntimePlugin, metadata: MetadataPlugin },
  config: defaults,
  describe: {
    blockioConfigFile: 'Classes of block I/O for CRI; refused with a reason in the log.',
    rdtConfigFile: 'Classes of Intel RDT for CRI; refused with a reason in the log.',
  },
  init({ ctx, config, deps }) {
    refuseClasses(ctx, 'blockio', config.blockioConfigFile, '/sys/fs/cgroup')
    refuseClasses(ctx, 'RDT', config.rdtConfigFile, '/sys/fs/resctrl/schemata')
    return new ContainerTaskManager(deps.metadata.containers, deps.runtime)
  },
})

/**
 * Says why classes of containers are not made from `file`. Like upstream's, the daemon goes on: only
 * CRI, by annotations of pods, puts containers into them.
 */
function refuseClasses(ctx: Context, what: string, file: string, needed: string): void {
  if (file === '') return
  const error = existsSync(needed)
    ? 'classes are chosen through CRI, which is not built yet in wharf'
    : `this machine has none: there is no ${needed}`
  ctx.log.error(`${what} initialization failed`, { file, error })
}
