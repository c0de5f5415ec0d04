import type { Context } from '#core/context.ts'
import type { ApplyOptions, CompareOptions, Differ } from '#core/diff/diff.ts'
import type { Descriptor } from '#core/images/images.ts'
import type { Mount } from '#core/mount/mount.ts'
import { Diff } from '#gen/services/diff_pb.ts'
import type { Connection, ServiceClient } from '#lib/rpc/rpc.ts'

import { callOptions } from './call.ts'
import { descriptorFromProto, descriptorToProto } from './convert/descriptor.ts'
import { mountsToProto } from './convert/mount.ts'
import { dateToProto } from './convert/timestamp.ts'

/** The differ of another daemon, which reads and writes that daemon's content. */
export class RemoteDiffer implements Differ {
  readonly #client: ServiceClient<typeof Diff>

  constructor(connection: Connection) {
    this.#client = connection.client(Diff)
  }

  async apply(
    ctx: Context,
    layer: Descriptor,
    mounts: readonly Mount[],
    options: ApplyOptions = {},
  ): Promise<Descriptor> {
    const request = {
      diff: descriptorToProto(layer),
      mounts: mountsToProto(mounts),
      payloads: { ...options.payloads },
    }
    const { applied } = await this.#client.apply(request, callOptions(ctx))
    return descriptorFromProto(applied)
  }

  async compare(
    ctx: Context,
    lower: readonly Mount[],
    upper: readonly Mount[],
    options: CompareOptions = {},
  ): Promise<Descriptor> {
    const { mediaType = '', ref = '', labels = {}, sourceDateEpoch } = options
    const request = {
      left: mountsToProto(lower),
      right: mountsToProto(upper),
      mediaType,
      ref,
      labels: { ...labels },
      ...(sourceDateEpoch && { sourceDateEpoch: dateToProto(sourceDateEpoch) }),
    }
    const { diff } = await this.#client.diff(request, callOptions(ctx))
    return descriptorFromProto(diff)
  }
}
