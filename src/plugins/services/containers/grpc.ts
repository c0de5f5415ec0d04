import type { ContainerStore } from '#core/containers/containers.ts'
import { Containers } from '#gen/services/containers_pb.ts'
import { CodedError } from '#lib/errors/errors.ts'
import { type RegisteredService, implement } from '#lib/rpc/rpc.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { ApiPlugin, ContainersService, type RpcContext } from '#plugins/types.ts'
import { containerToProto, newContainerFromProto } from '#proxy/convert/container.ts'

/** The service `containerd.services.containers.v1.Containers` over a store. */
export const containersApi = (store: ContainerStore): RegisteredService<RpcContext> =>
  implement(Containers, {
    async get({ id }, ctx) {
      return { container: containerToProto(await store.get(ctx, id)) }
    },
    async list({ filters }, ctx) {
      return { containers: (await store.list(ctx, filters)).map(containerToProto) }
    },
    async *listStream({ filters }, ctx) {
      for (const container of await store.list(ctx, filters)) {
        yield { container: containerToProto(container) }
      }
    },
    async create({ container }, ctx) {
      const created = await store.create(ctx, newContainerFromProto(container))
      return { container: containerToProto(created) }
    },
    async update({ container, updateMask }, ctx) {
      if (!container?.id) throw new CodedError('invalid_argument', 'Container.ID required')
      const given = newContainerFromProto(container)
      return {
        container: containerToProto(await store.update(ctx, given, updateMask?.paths ?? [])),
      }
    },
    async delete({ id }, ctx) {
      await store.delete(ctx, id)
      return {}
    },
  })

/** `io.containerd.grpc.v1.containers`. */
export const containersApiPlugin = definePlugin({
  type: ApiPlugin,
  id: 'containers',
  requires: { containers: ContainersService },
  init: ({ deps }) => ({ grpc: [containersApi(deps.containers)] }),
})
