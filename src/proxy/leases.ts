import type { Context } from '#core/context.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { Lease, LeaseManager, Resource } from '#core/leases/leases.ts'
import { Leases } from '#gen/services/leases_pb.ts'
import type { Connection, ServiceClient } from '#lib/rpc/rpc.ts'

import { callOptions } from './call.ts'
import { leaseFromProto } from './convert/lease.ts'

/** The leases of another daemon. Creating one without an id lets the daemon choose it. */
export class RemoteLeaseManager implements LeaseManager {
  readonly #client: ServiceClient<typeof Leases>

  constructor(connection: Connection) {
    this.#client = connection.client(Leases)
  }

  async create(
    ctx: Context,
    given: { readonly id: string; readonly labels: Labels },
  ): Promise<Lease> {
    const request = { id: given.id, labels: { ...given.labels } }
    const { lease } = await this.#client.create(request, callOptions(ctx))
    return leaseFromProto(lease)
  }

  async delete(
    ctx: Context,
    id: string,
    options: { readonly synchronous?: boolean } = {},
  ): Promise<void> {
    await this.#client.delete({ id, sync: options.synchronous ?? false }, callOptions(ctx))
  }

  async list(ctx: Context, filters: readonly string[] = []): Promise<readonly Lease[]> {
    const { leases } = await this.#client.list({ filters: [...filters] }, callOptions(ctx))
    return leases.map(leaseFromProto)
  }

  async addResource(ctx: Context, id: string, resource: Resource): Promise<void> {
    await this.#client.addResource({ id, resource: { ...resource } }, callOptions(ctx))
  }

  async deleteResource(ctx: Context, id: string, resource: Resource): Promise<void> {
    await this.#client.deleteResource({ id, resource: { ...resource } }, callOptions(ctx))
  }

  async listResources(ctx: Context, id: string): Promise<readonly Resource[]> {
    const { resources } = await this.#client.listResources({ id }, callOptions(ctx))
    return resources.map(({ id: name, type }) => ({ id: name, type }))
  }
}
