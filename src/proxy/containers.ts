import type { Container, ContainerStore, NewContainer } from '#core/containers/containers.ts'
import type { Context } from '#core/context.ts'
import { Containers } from '#gen/services/containers_pb.ts'
import type { Connection, ServiceClient } from '#lib/rpc/rpc.ts'

import { callOptions } from './call.ts'
import { containerFromProto, newContainerToProto } from './convert/container.ts'

/** The containers of another daemon. */
export class RemoteContainerStore implements ContainerStore {
  readonly #client: ServiceClient<typeof Containers>

  constructor(connection: Connection) {
    this.#client = connection.client(Containers)
  }

  async get(ctx: Context, id: string): Promise<Container> {
    const { container } = await this.#client.get({ id }, callOptions(ctx))
    return containerFromProto(container)
  }

  /** Asks for a stream: a list can be larger than one message may be. */
  async list(ctx: Context, filters: readonly string[] = []): Promise<readonly Container[]> {
    const messages = this.#client.listStream({ filters: [...filters] }, callOptions(ctx))
    return await Array.fromAsync(messages, ({ container }) => containerFromProto(container))
  }

  async create(ctx: Context, given: NewContainer): Promise<Container> {
    const request = { container: newContainerToProto(given) }
    const { container } = await this.#client.create(request, callOptions(ctx))
    return containerFromProto(container)
  }

  async update(ctx: Context, given: NewContainer, paths: readonly string[]): Promise<Container> {
    const request = {
      container: newContainerToProto(given),
      updateMask: { paths: [...paths] },
    }
    const { container } = await this.#client.update(request, callOptions(ctx))
    return containerFromProto(container)
  }

  async delete(ctx: Context, id: string): Promise<void> {
    await this.#client.delete({ id }, callOptions(ctx))
  }
}
