import type { Context } from '#core/context.ts'
import type { ActivateOptions, Activation, MountManager } from '#core/mount/manager.ts'
import type { Mount } from '#core/mount/mount.ts'
import { Mounts } from '#gen/services/mounts_pb.ts'
import { unimplemented } from '#lib/errors/errors.ts'
import type { Connection, ServiceClient } from '#lib/rpc/rpc.ts'

import { callOptions } from './call.ts'
import { activationFromProto } from './convert/activation.ts'
import { mountsToProto } from './convert/mount.ts'

/** The mount manager of another daemon. Disposing it leaves the connection open. */
export class RemoteMountManager implements MountManager {
  readonly #client: ServiceClient<typeof Mounts>

  constructor(connection: Connection) {
    this.#client = connection.client(Mounts)
  }

  /** @throws `unimplemented` for `allow`, which does not travel. */
  async activate(
    ctx: Context,
    name: string,
    mounts: readonly Mount[],
    { labels = {}, temporary = false, allow = [] }: ActivateOptions = {},
  ): Promise<Activation> {
    if (allow.length > 0) throw unimplemented('mounts that the caller handles, by the API')
    const { info } = await this.#client.activate(
      { name, mounts: mountsToProto(mounts), labels: { ...labels }, temporary },
      callOptions(ctx),
    )
    return activationFromProto(info)
  }

  async deactivate(ctx: Context, name: string): Promise<void> {
    await this.#client.deactivate({ name }, callOptions(ctx))
  }

  async info(ctx: Context, name: string): Promise<Activation> {
    const { info } = await this.#client.info({ name }, callOptions(ctx))
    return activationFromProto(info)
  }

  async update(
    ctx: Context,
    { name, labels }: Pick<Activation, 'name' | 'labels'>,
    paths: readonly string[],
  ): Promise<Activation> {
    const { info } = await this.#client.update(
      { info: { name, labels: { ...labels } }, updateMask: { paths: [...paths] } },
      callOptions(ctx),
    )
    return activationFromProto(info)
  }

  async list(ctx: Context, filters: readonly string[] = []): Promise<readonly Activation[]> {
    const messages = this.#client.list({ filters: [...filters] }, callOptions(ctx))
    return await Array.fromAsync(messages, ({ info }) => activationFromProto(info))
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
