import type { SandboxStore } from '#core/sandbox/store.ts'
import { Store } from '#gen/services/sandbox_pb.ts'
import { type RegisteredService, implement } from '#lib/rpc/rpc.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { ApiPlugin, type RpcContext, SandboxStorePlugin } from '#plugins/types.ts'
import { newSandboxFromProto, sandboxToProto } from '#proxy/convert/sandbox.ts'

/** The service `containerd.services.sandbox.v1.Store` over a store. */
export const sandboxesApi = (store: SandboxStore): RegisteredService<RpcContext> =>
  implement(Store, {
    async create({ sandbox }, ctx) {
      return { sandbox: sandboxToProto(await store.create(ctx, newSandboxFromProto(sandbox))) }
    },
    async update({ sandbox, fields }, ctx) {
      const given = newSandboxFromProto(sandbox)
      return { sandbox: sandboxToProto(await store.update(ctx, given, fields)) }
    },
    async delete({ sandboxId }, ctx) {
      await store.delete(ctx, sandboxId)
      return {}
    },
    async list({ filters }, ctx) {
      return { list: (await store.list(ctx, filters)).map(sandboxToProto) }
    },
    async get({ sandboxId }, ctx) {
      return { sandbox: sandboxToProto(await store.get(ctx, sandboxId)) }
    },
  })

/** `io.containerd.grpc.v1.sandboxes`. */
export const sandboxesApiPlugin = definePlugin({
  type: ApiPlugin,
  id: 'sandboxes',
  requires: { sandboxes: SandboxStorePlugin },
  init: ({ deps }) => ({ grpc: [sandboxesApi(deps.sandboxes)] }),
})
