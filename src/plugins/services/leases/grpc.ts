import { randomBytes } from 'node:crypto'

import type { LeaseManager, Resource } from '#core/leases/leases.ts'
import { Leases, type Resource as ResourceMessage } from '#gen/services/leases_pb.ts'
import { type RegisteredService, implement } from '#lib/rpc/rpc.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { ApiPlugin, LeasePlugin, type RpcContext } from '#plugins/types.ts'
import { leaseToProto } from '#proxy/convert/lease.ts'

/** The service `containerd.services.leases.v1.Leases` over a manager. */
export const leasesApi = (leases: LeaseManager): RegisteredService<RpcContext> =>
  implement(Leases, {
    async create({ id, labels }, ctx) {
      return { lease: leaseToProto(await leases.create(ctx, { id: id || randomId(), labels })) }
    },
    async delete({ id, sync }, ctx) {
      await leases.delete(ctx, id, { synchronous: sync })
      return {}
    },
    async list({ filters }, ctx) {
      return { leases: (await leases.list(ctx, filters)).map(leaseToProto) }
    },
    async addResource({ id, resource }, ctx) {
      await leases.addResource(ctx, id, given(resource))
      return {}
    },
    async deleteResource({ id, resource }, ctx) {
      await leases.deleteResource(ctx, id, given(resource))
      return {}
    },
    async listResources({ id }, ctx) {
      const resources = await leases.listResources(ctx, id)
      return { resources: resources.map((resource) => ({ ...resource })) }
    },
  })

const given = (resource: ResourceMessage | undefined): Resource => ({
  id: resource?.id ?? '',
  type: resource?.type ?? '',
})

/** A name for a lease whose maker does not care. Source: upstream `core/leases/id.go`. */
function randomId(): string {
  const nanos = process.hrtime.bigint() % 1_000_000_000n
  return `${nanos}-${randomBytes(3).toString('base64url')}`
}

/** `io.containerd.grpc.v1.leases`. */
export const leasesApiPlugin = definePlugin({
  type: ApiPlugin,
  id: 'leases',
  requires: { leases: LeasePlugin },
  init: ({ deps }) => ({ grpc: [leasesApi(deps.leases)] }),
})
