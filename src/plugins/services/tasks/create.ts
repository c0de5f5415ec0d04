import type { Any } from '#core/any/any.ts'
import type { ContainerStore } from '#core/containers/containers.ts'
import type { Context } from '#core/context.ts'
import type { CreateOptions } from '#core/runtime/runtime.ts'
import type { CreateTaskRequest } from '#gen/services/tasks_pb.ts'
import { OptionsSchema } from '#gen/types/runc-options_pb.ts'
import { failedPrecondition, unimplemented } from '#lib/errors/errors.ts'
import { anyFromProto } from '#proxy/convert/any.ts'
import { mountsFromProto } from '#proxy/convert/mount.ts'
import { holds, unpack } from '#proxy/convert/pack.ts'

/** What `Checkpoint` writes. Source: upstream `core/images/mediatypes.go`. */
const checkpointType = 'application/vnd.containerd.container.criu.checkpoint.criu.tar'

/**
 * What a task is made from: the container's record and what the request adds.
 *
 * @throws `not_found` for the container; `failed_precondition` when it has no spec; `unimplemented`
 * for a checkpoint in the content store.
 */
export async function createOptions(
  ctx: Context,
  containers: ContainerStore,
  request: CreateTaskRequest,
): Promise<CreateOptions> {
  const container = await containers.get(ctx, request.containerId)
  if (!container.spec) throw failedPrecondition(`container ${request.containerId} has no spec`)
  const taskOptions = anyFromProto(request.options)
  return {
    spec: container.spec,
    rootfs: mountsFromProto(request.rootfs),
    runtime: request.runtimePath || container.runtime.name,
    runtimeOptions: container.runtime.options,
    taskOptions,
    checkpoint: checkpointOf(request, container.runtime.name, taskOptions),
    sandbox: container.sandbox,
    taskApi: taskApiOf(request, taskOptions),
    stdin: request.stdin,
    stdout: request.stdout,
    stderr: request.stderr,
    terminal: request.terminal,
  }
}

/** Where to restore from, if anywhere. */
function checkpointOf(
  request: CreateTaskRequest,
  runtime: string,
  options: Any | undefined,
): string {
  const fromPath = request.checkpoint?.annotations['RestoreFromPath']
  if (fromPath !== undefined) return fromPath
  const criuImagePath = options ? runcOptions(runtime, options).criuImagePath : ''
  if (request.checkpoint && criuImagePath === '') {
    const { mediaType } = request.checkpoint
    if (mediaType !== checkpointType) {
      throw new Error(`unsupported checkpoint type ${JSON.stringify(mediaType)}`)
    }
    throw unimplemented('restoring a checkpoint from the content store is not built yet')
  }
  return criuImagePath
}

function runcOptions(runtime: string, options: Any) {
  if (holds(options, OptionsSchema)) return unpack(OptionsSchema, options)
  throw new Error(`invalid task create option for ${runtime}`)
}

/** Where its sandbox serves tasks; in the options of runc as well, from clients before 2.3. */
function taskApiOf(
  { taskApiAddress, taskApiVersion }: CreateTaskRequest,
  options: Any | undefined,
): CreateOptions['taskApi'] {
  const old = options && holds(options, OptionsSchema) ? unpack(OptionsSchema, options) : undefined
  const address = taskApiAddress || old?.taskApiAddress
  return address ? { address, version: taskApiVersion || (old?.taskApiVersion ?? 0) } : undefined
}
