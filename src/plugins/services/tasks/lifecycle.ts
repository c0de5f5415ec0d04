import type { TaskManager } from '#core/runtime/runtime.ts'
import type { Tasks } from '#gen/services/tasks_pb.ts'
import { CodedError } from '#lib/errors/errors.ts'
import type { ServiceImpl } from '#lib/rpc/rpc.ts'
import type { RpcContext } from '#plugins/types.ts'
import { anyOrEmpty } from '#proxy/convert/any.ts'
import { timestampToProto } from '#proxy/convert/timestamp.ts'

import { type CreateParts, createOptions } from './create.ts'

/** Methods that begin and end tasks and their processes. */
export const lifecycleMethods = (
  tasks: TaskManager,
  parts: CreateParts,
): ServiceImpl<typeof Tasks, RpcContext> => ({
  async create(request, ctx) {
    const { containerId } = request
    try {
      const task = await tasks.create(ctx, containerId, await createOptions(ctx, parts, request))
      return { containerId, pid: task.pid }
    } catch (err) {
      if (request.checkpoint) await parts.checkpoints.restored(ctx, containerId)
      throw err
    }
  },
  async start({ containerId, execId }, ctx) {
    const task = await tasks.get(ctx, containerId)
    const pid = await task.start(ctx, execId)
    if (execId === '') await parts.checkpoints.restored(ctx, containerId)
    return { pid }
  },
  async delete({ containerId }, ctx) {
    const { pid, status, exitedAt } = await tasks.delete(ctx, containerId)
    await parts.checkpoints.restored(ctx, containerId)
    return { pid, exitStatus: status, exitedAt: timestampToProto(exitedAt) }
  },
  async deleteProcess({ containerId, execId }, ctx) {
    const task = await tasks.get(ctx, containerId)
    const { pid, status, exitedAt } = await task.deleteExec(ctx, execId)
    return { id: execId, pid, exitStatus: status, exitedAt: timestampToProto(exitedAt) }
  },
  async exec({ containerId, execId, spec, stdin, stdout, stderr, terminal }, ctx) {
    if (execId === '') throw new CodedError('invalid_argument', 'exec id cannot be empty')
    const task = await tasks.get(ctx, containerId)
    await task.exec(ctx, execId, { spec: anyOrEmpty(spec), stdin, stdout, stderr, terminal })
    return {}
  },
  async wait({ containerId, execId }, ctx) {
    const task = await tasks.get(ctx, containerId)
    const { status, exitedAt } = await task.wait(ctx, execId)
    return { exitStatus: status, exitedAt: timestampToProto(exitedAt) }
  },
})
