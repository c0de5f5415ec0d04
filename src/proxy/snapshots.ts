import type { Context } from '#core/context.ts'
import type { Mount } from '#core/mount/mount.ts'
import type { Info, SnapshotOptions, Snapshotter, Usage } from '#core/snapshots/snapshotter.ts'
import { Snapshots } from '#gen/services/snapshots_pb.ts'
import type { Connection, ServiceClient } from '#lib/rpc/rpc.ts'

import { callOptions } from './call.ts'
import { mountsFromProto } from './convert/mount.ts'
import { snapshotFromProto } from './convert/snapshot.ts'

/** One snapshotter of another daemon. Disposing it leaves the connection open. */
export class RemoteSnapshotter implements Snapshotter {
  readonly #client: ServiceClient<typeof Snapshots>
  readonly #snapshotter: string

  constructor(connection: Connection, snapshotter: string) {
    this.#client = connection.client(Snapshots)
    this.#snapshotter = snapshotter
  }

  async stat(ctx: Context, key: string): Promise<Info> {
    const { info } = await this.#client.stat(this.#request({ key }), callOptions(ctx))
    return snapshotFromProto(info)
  }

  async update(
    ctx: Context,
    { name, labels }: Pick<Info, 'name' | 'labels'>,
    paths: readonly string[],
  ): Promise<Info> {
    const request = this.#request({
      info: { name, labels: { ...labels } },
      updateMask: { paths: [...paths] },
    })
    const { info } = await this.#client.update(request, callOptions(ctx))
    return snapshotFromProto(info)
  }

  async usage(ctx: Context, key: string): Promise<Usage> {
    const { inodes, size } = await this.#client.usage(this.#request({ key }), callOptions(ctx))
    return { inodes: Number(inodes), size: Number(size) }
  }

  async mounts(ctx: Context, key: string): Promise<readonly Mount[]> {
    const { mounts } = await this.#client.mounts(this.#request({ key }), callOptions(ctx))
    return mountsFromProto(mounts)
  }

  async prepare(
    ctx: Context,
    key: string,
    parent: string,
    { labels }: SnapshotOptions = {},
  ): Promise<readonly Mount[]> {
    const request = this.#request({ key, parent, labels: { ...labels } })
    const { mounts } = await this.#client.prepare(request, callOptions(ctx))
    return mountsFromProto(mounts)
  }

  async view(
    ctx: Context,
    key: string,
    parent: string,
    { labels }: SnapshotOptions = {},
  ): Promise<readonly Mount[]> {
    const request = this.#request({ key, parent, labels: { ...labels } })
    const { mounts } = await this.#client.view(request, callOptions(ctx))
    return mountsFromProto(mounts)
  }

  async commit(
    ctx: Context,
    name: string,
    key: string,
    { labels, parent = '' }: SnapshotOptions = {},
  ): Promise<void> {
    const request = this.#request({ name, key, parent, labels: { ...labels } })
    await this.#client.commit(request, callOptions(ctx))
  }

  async remove(ctx: Context, key: string): Promise<void> {
    await this.#client.remove(this.#request({ key }), callOptions(ctx))
  }

  async *list(ctx: Context, filters: readonly string[] = []): AsyncIterable<Info> {
    const request = this.#request({ filters: [...filters] })
    for await (const { info } of this.#client.list(request, callOptions(ctx))) {
      for (const one of info) yield snapshotFromProto(one)
    }
  }

  async cleanup(ctx: Context): Promise<void> {
    await this.#client.cleanup(this.#request({}), callOptions(ctx))
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #request<T extends object>(fields: T): T & { readonly snapshotter: string } {
    return { ...fields, snapshotter: this.#snapshotter }
  }
}
