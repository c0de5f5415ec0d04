import type { Any } from '#core/any/any.ts'
import type { TaskManager } from '#core/runtime/runtime.ts'
import type { Tasks } from '#gen/services/tasks_pb.ts'
import { CheckpointOptionsSchema } from '#gen/types/runc-options_pb.ts'
import { failedPrecondition } from '#lib/errors/errors.ts'
import type { ServiceImpl } from '#lib/rpc/rpc.ts'
import type { RpcContext } from '#plugins/types.ts'
import { anyFromProto, anyOrEmpty } from '#proxy/convert/any.ts'
import { descriptorToProto } from '#proxy/convert/descriptor.ts'
import { holds, unpack } from '#proxy/convert/pack.ts'

import type { CreateParts } from './create.ts'

/** Methods that act on a task while it runs. */
export const controlMethods = (
  tasks: TaskManager,
  { containers, checkpoints }: CreateParts,
): ServiceImpl<typeof Tasks, RpcContext> => ({
  async kill({ containerId, execId, signal, all }, ctx) {
    const task = await tasks.get(ctx, containerId)
    await task.kill(ctx, { signal, all, execId })
    return {}
  },
  async resizePty({ containerId, execId, width, height }, ctx) {
    const task = await tasks.get(ctx, containerId)
    await task.resizePty(ctx, { width, height, execId })
    return {}
  },
  async closeIO({ containerId, execId, stdin }, ctx) {
    const task = await tasks.get(ctx, containerId)
    if (stdin) await task.closeStdin(ctx, execId)
    return {}
  },
  async pause({ containerId }, ctx) {
    const task = await tasks.get(ctx, containerId)
    await task.pause(ctx)
    return {}
  },
  async resume({ containerId }, ctx) {
    const task = await tasks.get(ctx, containerId)
    await task.resume(ctx)
    return {}
  },
  async update({ containerId, resources, annotations }, ctx) {
    const task = await tasks.get(ctx, containerId)
    await task.update(ctx, anyOrEmpty(resources), annotations)
    return {}
  },
  async checkpoint({ containerId, options }, ctx) {
    const task = await tasks.get(ctx, containerId)
    const { spec, runtime } = await containers.get(ctx, containerId)
    const given = anyFromProto(options)
    const path = given ? imagePath(runtime.name, given) : ''
    if (path !== '') {
      await task.checkpoint(ctx, path, given)
      return {}
    }
    if (!spec) throw failedPrecondition(`container ${containerId} has no spec`)
    const make = async (dir: string): Promise<void> => await task.checkpoint(ctx, dir, given)
    const descriptors = await checkpoints.save(ctx, spec, make)
    return { descriptors: descriptors.map(descriptorToProto) }
  },
})

/** The directory that runc's checkpoint options name. */
function imagePath(runtime: string, options: Any): string {
  if (holds(options, CheckpointOptionsSchema)) {
    return unpack(CheckpointOptionsSchema, options).imagePath
  }
  throw new Error(`invalid task checkpoint option for ${runtime}`)
}
