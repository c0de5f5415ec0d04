import type { ContainerStore } from '#core/containers/containers.ts'
import type { TaskManager } from '#core/runtime/runtime.ts'
import { Tasks } from '#gen/services/tasks_pb.ts'
import { type RegisteredService, implement } from '#lib/rpc/rpc.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { ApiPlugin, ContainersService, type RpcContext, TasksService } from '#plugins/types.ts'

import { controlMethods } from './control.ts'
import { lifecycleMethods } from './lifecycle.ts'
import { queryMethods } from './query.ts'

/** The service `containerd.services.tasks.v1.Tasks`. */
export const tasksApi = (
  tasks: TaskManager,
  containers: ContainerStore,
): RegisteredService<RpcContext> =>
  implement(Tasks, {
    ...lifecycleMethods(tasks, containers),
    ...controlMethods(tasks),
    ...queryMethods(tasks),
  })

/** `io.containerd.grpc.v1.tasks`. */
export const tasksApiPlugin = definePlugin({
  type: ApiPlugin,
  id: 'tasks',
  requires: { tasks: TasksService, containers: ContainersService },
  init: ({ deps }) => ({ grpc: [tasksApi(deps.tasks, deps.containers)] }),
})
