import { join } from 'node:path'

import type { TaskManager } from '#core/runtime/runtime.ts'
import { Tasks } from '#gen/services/tasks_pb.ts'
import { type RegisteredService, implement } from '#lib/rpc/rpc.ts'
import { definePlugin } from '#plugin/plugin.ts'
import {
  ApiPlugin,
  ContainersService,
  ContentService,
  DiffService,
  type RpcContext,
  TasksService,
  WarningPlugin,
} from '#plugins/types.ts'

import { Checkpoints } from './checkpoints.ts'
import { controlMethods } from './control.ts'
import type { CreateParts } from './create.ts'
import { lifecycleMethods } from './lifecycle.ts'
import { queryMethods } from './query.ts'

/** The service `containerd.services.tasks.v1.Tasks`. */
export const tasksApi = (tasks: TaskManager, parts: CreateParts): RegisteredService<RpcContext> =>
  implement(Tasks, {
    ...lifecycleMethods(tasks, parts),
    ...controlMethods(tasks, parts),
    ...queryMethods(tasks),
  })

/** `io.containerd.grpc.v1.tasks`. */
export const tasksApiPlugin = definePlugin({
  type: ApiPlugin,
  id: 'tasks',
  requires: {
    tasks: TasksService,
    containers: ContainersService,
    content: ContentService,
    differ: DiffService,
    warnings: WarningPlugin,
  },
  init({ rootDir, deps }) {
    const { tasks, containers, warnings } = deps
    const checkpoints = new Checkpoints(join(rootDir, 'checkpoints'), deps)
    return { grpc: [tasksApi(tasks, { containers, checkpoints, warnings })] }
  },
})
