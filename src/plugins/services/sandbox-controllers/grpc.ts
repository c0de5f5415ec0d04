import type { DescMessage, MessageInitShape } from '@bufbuild/protobuf'

import type { Context } from '#core/context.ts'
import type { Publisher } from '#core/events/events.ts'
import type { Sandbox, SandboxController } from '#core/sandbox/controller.ts'
import {
  SandboxCreateSchema,
  SandboxExitSchema,
  SandboxStartSchema,
} from '#gen/events/sandbox_pb.ts'
import { Controller, type ControllerCreateRequest } from '#gen/services/sandbox_pb.ts'
import { CodedError } from '#lib/errors/errors.ts'
import { type RegisteredService, implement } from '#lib/rpc/rpc.ts'
import { definePlugin, each } from '#plugin/plugin.ts'
import { ApiPlugin, EventPlugin, type RpcContext, SandboxControllerPlugin } from '#plugins/types.ts'
import { anyFromProto } from '#proxy/convert/any.ts'
import { mountsFromProto } from '#proxy/convert/mount.ts'
import { pack } from '#proxy/convert/pack.ts'
import { newSandboxFromProto, sandboxFromProto } from '#proxy/convert/sandbox.ts'
import { dateToProto } from '#proxy/convert/timestamp.ts'

type Controllers = ReadonlyMap<string, SandboxController>

/**
 * The service `containerd.services.sandbox.v1.Controller`: each call goes to the controller that it
 * names, and what happens is published here. Source: upstream `plugins/services/sandbox`.
 */
export function controllersApi(
  controllers: Controllers,
  events: Publisher,
): RegisteredService<RpcContext> {
  const of = (name: string): SandboxController => controllerOf(controllers, name)
  return implement(Controller, {
    async create(request, ctx) {
      const { sandboxId } = request
      await of(request.sandboxer).create(ctx, sandboxOf(request), createOptions(request))
      publish(ctx, events, '/sandboxes/create', SandboxCreateSchema, { sandboxId })
      return { sandboxId }
    },
    async start({ sandboxId, sandboxer }, ctx) {
      const { id, createdAt, labels, spec, ...started } = await startIn(
        of(sandboxer),
        ctx,
        sandboxId,
      )
      publish(ctx, events, '/sandboxes/start', SandboxStartSchema, { sandboxId })
      const answer = { ...started, sandboxId: id, createdAt: dateToProto(createdAt) }
      return { ...answer, labels: { ...labels }, ...(spec && { spec }) }
    },
    async platform({ sandboxId, sandboxer }, ctx) {
      return { platform: await of(sandboxer).platform(ctx, sandboxId) }
    },
    async stop({ sandboxId, sandboxer, timeoutSecs }, ctx) {
      await of(sandboxer).stop(ctx, sandboxId, { timeoutMs: timeoutSecs * 1000 })
      return {}
    },
    async wait({ sandboxId, sandboxer }, ctx) {
      const { status: exitStatus, exitedAt: date } = await of(sandboxer).wait(ctx, sandboxId)
      const exit = { exitStatus, exitedAt: dateToProto(date) }
      publish(ctx, events, '/sandboxes/exit', SandboxExitSchema, { sandboxId, ...exit })
      return exit
    },
    async status({ sandboxId, sandboxer, verbose }, ctx) {
      const status = await of(sandboxer).status(ctx, sandboxId, { verbose })
      const { id, createdAt, exitedAt, info, extra, ...rest } = status
      const times = { createdAt: dateToProto(createdAt), exitedAt: dateToProto(exitedAt) }
      const none = { typeUrl: '', value: new Uint8Array() }
      return { ...rest, ...times, sandboxId: id, info: { ...info }, extra: extra ?? none }
    },
    async shutdown({ sandboxId, sandboxer }, ctx) {
      await of(sandboxer).shutdown(ctx, sandboxId)
      return {}
    },
    async metrics({ sandboxId, sandboxer }, ctx) {
      const data = await of(sandboxer).metrics(ctx, sandboxId)
      return data ? { metrics: { timestamp: dateToProto(new Date()), id: sandboxId, data } } : {}
    },
    async update({ sandbox, sandboxer, fields }, ctx) {
      const controller = of(sandboxer)
      if (!sandbox) throw new CodedError('unknown', 'sandbox can not be nil')
      await controller.update(ctx, sandboxFromProto(sandbox), fields)
      return {}
    },
  })
}

/** containerd's words, which begin with the class for once. */
function controllerOf(controllers: Controllers, name: string): SandboxController {
  if (name === '') {
    const what = 'invalid argument: sandbox controller name can not be empty'
    throw new CodedError('invalid_argument', what)
  }
  const controller = controllers.get(name)
  if (controller) return controller
  throw new CodedError('not_found', `not found: failed to get sandbox controller by ${name}`)
}

/** Clients of the time before records were sent name only the id. */
function sandboxOf({ sandbox, sandboxId }: ControllerCreateRequest): Sandbox {
  if (sandbox) return sandboxFromProto(sandbox)
  const never = new Date(0)
  return { ...newSandboxFromProto(undefined), id: sandboxId, createdAt: never, updatedAt: never }
}

const createOptions = ({ rootfs, options, netnsPath, annotations }: ControllerCreateRequest) => ({
  rootfs: mountsFromProto(rootfs),
  options: anyFromProto(options),
  netnsPath,
  annotations,
})

async function startIn(controller: SandboxController, ctx: Context, id: string) {
  try {
    return await controller.start(ctx, id)
  } catch (err) {
    throw new Error(`failed to start sandbox ${JSON.stringify(id)}`, { cause: err })
  }
}

function publish<S extends DescMessage>(
  ctx: Context,
  events: Publisher,
  topic: string,
  schema: S,
  init: MessageInitShape<S>,
): void {
  events.publish(ctx, topic, pack(schema, init))
}

/** `io.containerd.grpc.v1.sandbox-controllers`. */
export const sandboxControllersApiPlugin = definePlugin({
  type: ApiPlugin,
  id: 'sandbox-controllers',
  requires: { controllers: each(SandboxControllerPlugin), events: EventPlugin },
  init: ({ deps }) => ({ grpc: [controllersApi(deps.controllers, deps.events)] }),
})
