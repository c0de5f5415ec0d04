import type { Differ } from '#core/diff/diff.ts'
import { Diff } from '#gen/services/diff_pb.ts'
import { type RegisteredService, implement } from '#lib/rpc/rpc.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { ApiPlugin, DiffService, type RpcContext } from '#plugins/types.ts'
import { anysFromProto } from '#proxy/convert/any.ts'
import { descriptorFromProto, descriptorToProto } from '#proxy/convert/descriptor.ts'
import { mountsFromProto } from '#proxy/convert/mount.ts'
import { dateFromProto } from '#proxy/convert/timestamp.ts'

/** The service `containerd.services.diff.v1.Diff` over a differ. */
export const diffApi = (differ: Differ): RegisteredService<RpcContext> =>
  implement(Diff, {
    async apply({ diff, mounts, payloads }, ctx) {
      const options = { payloads: anysFromProto(payloads) }
      const layer = descriptorFromProto(diff)
      const applied = await differ.apply(ctx, layer, mountsFromProto(mounts), options)
      return { applied: descriptorToProto(applied) }
    },
    async diff({ left, right, mediaType, ref, labels, sourceDateEpoch }, ctx) {
      const made = await differ.compare(ctx, mountsFromProto(left), mountsFromProto(right), {
        mediaType,
        ref,
        labels,
        sourceDateEpoch: sourceDateEpoch && dateFromProto(sourceDateEpoch),
      })
      return { diff: descriptorToProto(made) }
    },
  })

/** `io.containerd.grpc.v1.diff`. */
export const diffApiPlugin = definePlugin({
  type: ApiPlugin,
  id: 'diff',
  requires: { differ: DiffService },
  init: ({ deps }) => ({ grpc: [diffApi(deps.differ)] }),
})
