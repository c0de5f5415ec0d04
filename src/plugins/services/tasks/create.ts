import type { Any } from '#core/any/any.ts'
import type { ContainerStore } from '#core/containers/containers.ts'
import type { Context } from '#core/context.ts'
import type { CreateOptions } from '#core/runtime/runtime.ts'
import type { Warnings } from '#core/warnings/warnings.ts'
import type { CreateTaskRequest } from '#gen/services/tasks_pb.ts'
import { type Options, OptionsSchema } from '#gen/types/runc-options_pb.ts'
import { failedPrecondition } from '#lib/errors/errors.ts'
import { anyFromProto } from '#proxy/convert/any.ts'
import { descriptorFromProto } from '#proxy/convert/descriptor.ts'
import { mountsFromProto } from '#proxy/convert/mount.ts'
import { holds, unpack } from '#proxy/convert/pack.ts'

import { type Checkpoints, checkpointTypes } from './checkpoints.ts'

/** What is needed beside the request. */
export interface CreateParts {
  readonly containers: ContainerStore
  readonly checkpoints: Checkpoints
  readonly warnings: Warnings
}

/**
 * What a task is made from: the container's record and what the request adds.
 *
 * @throws `not_found` for the container, or its checkpoint; `failed_precondition` when it has no spec.
 */
export async function createOptions(
  ctx: Context,
  { containers, checkpoints, warnings }: CreateParts,
  request: CreateTaskRequest,
): Promise<CreateOptions> {
  const container = await containers.get(ctx, request.containerId)
  if (!container.spec) throw failedPrecondition(`container ${request.containerId} has no spec`)
  const taskOptions = anyFromProto(request.options)
  const runc = taskOptions && runcOptions(container.runtime.name, taskOptions)
  return {
    spec: container.spec,
    rootfs: mountsFromProto(request.rootfs),
    runtime: request.runtimePath || container.runtime.name,
    runtimeOptions: container.runtime.options,
    taskOptions,
    checkpoint: await checkpointOf(ctx, checkpoints, request, runc),
    sandbox: container.sandbox,
    taskApi: taskApiOf(request, runc, warnings),
    stdin: request.stdin,
    stdout: request.stdout,
    stderr: request.stderr,
    terminal: request.terminal,
  }
}

/** Where to restore from, if anywhere: a directory of the client's, or one of ours. */
async function checkpointOf(
  ctx: Context,
  checkpoints: Checkpoints,
  { checkpoint, containerId }: CreateTaskRequest,
  runc: Options | undefined,
): Promise<string> {
  const path = checkpoint?.annotations['RestoreFromPath'] ?? runc?.criuImagePath ?? ''
  if (path !== '' || !checkpoint) return path
  const { mediaType } = checkpoint
  if (mediaType !== checkpointTypes.images) {
    throw new Error(`unsupported checkpoint type ${JSON.stringify(mediaType)}`)
  }
  return await checkpoints.restore(ctx, containerId, descriptorFromProto(checkpoint))
}

function runcOptions(runtime: string, options: Any): Options {
  if (holds(options, OptionsSchema)) return unpack(OptionsSchema, options)
  throw new Error(`invalid task create option for ${runtime}`)
}

/** Where its sandbox serves tasks; in the options of runc as well, from clients before 2.3. */
function taskApiOf(
  request: CreateTaskRequest,
  runc: Options | undefined,
  warnings: Warnings,
): CreateOptions['taskApi'] {
  const { taskApiAddress: old = '', taskApiVersion: oldVersion = 0 } = runc ?? {}
  if (!request.taskApiAddress && old) {
    warnings.emit('io.containerd.deprecation/runc-options-task-api-address')
  }
  if (!request.taskApiVersion && oldVersion) {
    warnings.emit('io.containerd.deprecation/runc-options-task-api-version')
  }
  const address = request.taskApiAddress || old
  return address ? { address, version: request.taskApiVersion || oldVersion } : undefined
}
