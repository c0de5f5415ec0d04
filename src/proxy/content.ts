import type { Info, Reader, Status, Store, Writer, WriterOptions } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'
import { Content } from '#gen/services/content_pb.ts'
import type { Connection, ServiceClient } from '#lib/rpc/rpc.ts'

import { callOptions } from './call.ts'
import { RemoteReader } from './content-reader.ts'
import { RemoteWriter } from './content-writer.ts'
import { infoFromProto, statusFromProto } from './convert/content.ts'

/** The content of another daemon. Disposing it leaves the connection open. */
export class RemoteContentStore implements Store {
  readonly #client: ServiceClient<typeof Content>

  constructor(connection: Connection) {
    this.#client = connection.client(Content)
  }

  async info(ctx: Context, digest: string): Promise<Info> {
    const { info } = await this.#client.info({ digest }, callOptions(ctx))
    return infoFromProto(info)
  }

  async update(
    ctx: Context,
    { digest, labels }: Pick<Info, 'digest' | 'labels'>,
    paths: readonly string[],
  ): Promise<Info> {
    const request = { info: { digest, labels: { ...labels } }, updateMask: { paths: [...paths] } }
    const { info } = await this.#client.update(request, callOptions(ctx))
    return infoFromProto(info)
  }

  async *list(ctx: Context, filters: readonly string[] = []): AsyncIterable<Info> {
    const blocks = this.#client.list({ filters: [...filters] }, callOptions(ctx))
    for await (const { info } of blocks) for (const one of info) yield infoFromProto(one)
  }

  async delete(ctx: Context, digest: string): Promise<void> {
    await this.#client.delete({ digest }, callOptions(ctx))
  }

  async reader(ctx: Context, digest: string): Promise<Reader> {
    const { size } = await this.info(ctx, digest)
    return new RemoteReader(ctx, this.#client, { digest, size })
  }

  async writer(ctx: Context, options: WriterOptions): Promise<Writer> {
    return await RemoteWriter.open(ctx, this.#client, options)
  }

  async status(ctx: Context, ref: string): Promise<Status> {
    const { status } = await this.#client.status({ ref }, callOptions(ctx))
    return statusFromProto(status)
  }

  async listStatuses(ctx: Context, filters: readonly string[] = []): Promise<readonly Status[]> {
    const request = { filters: [...filters] }
    const { statuses } = await this.#client.listStatuses(request, callOptions(ctx))
    return statuses.map(statusFromProto)
  }

  async abort(ctx: Context, ref: string): Promise<void> {
    await this.#client.abort({ ref }, callOptions(ctx))
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
