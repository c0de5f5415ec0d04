import type { Context } from '#core/context.ts'
import type { Sandbox } from '#core/sandbox/controller.ts'
import type { NewSandbox, SandboxStore } from '#core/sandbox/store.ts'
import { Store } from '#gen/services/sandbox_pb.ts'
import type { Connection, ServiceClient } from '#lib/rpc/rpc.ts'

import { callOptions } from './call.ts'
import { newSandboxToProto, sandboxFromProto } from './convert/sandbox.ts'

/** The records of sandboxes of another daemon. */
export class RemoteSandboxStore implements SandboxStore {
  readonly #client: ServiceClient<typeof Store>

  constructor(connection: Connection) {
    this.#client = connection.client(Store)
  }

  async create(ctx: Context, given: NewSandbox): Promise<Sandbox> {
    const request = { sandbox: newSandboxToProto(given) }
    return sandboxFromProto((await this.#client.create(request, callOptions(ctx))).sandbox)
  }

  async update(ctx: Context, given: NewSandbox, paths: readonly string[]): Promise<Sandbox> {
    const request = { sandbox: newSandboxToProto(given), fields: [...paths] }
    return sandboxFromProto((await this.#client.update(request, callOptions(ctx))).sandbox)
  }

  async get(ctx: Context, id: string): Promise<Sandbox> {
    const { sandbox } = await this.#client.get({ sandboxId: id }, callOptions(ctx))
    return sandboxFromProto(sandbox)
  }

  async list(ctx: Context, filters: readonly string[] = []): Promise<readonly Sandbox[]> {
    const { list } = await this.#client.list({ filters: [...filters] }, callOptions(ctx))
    return list.map(sandboxFromProto)
  }

  async delete(ctx: Context, id: string): Promise<void> {
    await this.#client.delete({ sandboxId: id }, callOptions(ctx))
  }
}
