import type { Context } from '#core/context.ts'
import type { MountManager } from '#core/mount/manager.ts'
import { Mounts } from '#gen/services/mounts_pb.ts'
import { type RegisteredService, implement } from '#lib/rpc/rpc.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { ApiPlugin, MountManagerPlugin, type RpcContext } from '#plugins/types.ts'
import { activationFromProto, activationToProto } from '#proxy/convert/activation.ts'
import { mountsFromProto } from '#proxy/convert/mount.ts'

/** The service `containerd.services.mounts.v1.Mounts` over a manager. */
export const mountsApi = (manager: MountManager): RegisteredService<RpcContext> =>
  implement(Mounts, {
    async activate({ name, mounts, labels, temporary }, ctx) {
      const options = { labels, temporary }
      const activation = await manager.activate(ctx, name, mountsFromProto(mounts), options)
      return { info: activationToProto(activation) }
    },
    async deactivate({ name }, ctx) {
      await manager.deactivate(ctx, name)
      return {}
    },
    async info({ name }, ctx) {
      return { info: activationToProto(await manager.info(ctx, name)) }
    },
    async update({ info, updateMask }, ctx) {
      const paths = updateMask?.paths ?? []
      const updated = await manager.update(ctx, activationFromProto(info), paths)
      return { info: activationToProto(updated) }
    },
    list: ({ filters }, ctx) => list(manager, ctx, filters),
  })

async function* list(manager: MountManager, ctx: Context, filters: readonly string[]) {
  for (const each of await manager.list(ctx, filters)) yield { info: activationToProto(each) }
}

/** `io.containerd.grpc.v1.mounts`. */
export const mountsApiPlugin = definePlugin({
  type: ApiPlugin,
  id: 'mounts',
  requires: { manager: MountManagerPlugin },
  init: ({ deps }) => ({ grpc: [mountsApi(deps.manager)] }),
})
