import type { Context } from '#core/context.ts'
import type { SnapshotOptions, Snapshotter } from '#core/snapshots/snapshotter.ts'
import { Snapshots } from '#gen/services/snapshots_pb.ts'
import { invalidArgument } from '#lib/errors/errors.ts'
import { type RegisteredService, implement } from '#lib/rpc/rpc.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { ApiPlugin, type RpcContext, SnapshotsService } from '#plugins/types.ts'
import { blocks } from '#proxy/convert/blocks.ts'
import { mountsToProto } from '#proxy/convert/mount.ts'
import { snapshotFromProto, snapshotToProto } from '#proxy/convert/snapshot.ts'

type Snapshotters = ReadonlyMap<string, Snapshotter>

/** The service `containerd.services.snapshots.v1.Snapshots` over every snapshotter there is. */
export const snapshotsApi = (snapshotters: Snapshotters): RegisteredService<RpcContext> => {
  const named = (name: string): Snapshotter => find(snapshotters, name)
  return implement(Snapshots, {
    async prepare({ snapshotter, key, parent, labels }, ctx) {
      const mounts = await named(snapshotter).prepare(ctx, key, parent, { labels })
      return { mounts: mountsToProto(mounts) }
    },
    async view({ snapshotter, key, parent, labels }, ctx) {
      const mounts = await named(snapshotter).view(ctx, key, parent, { labels })
      return { mounts: mountsToProto(mounts) }
    },
    async mounts({ snapshotter, key }, ctx) {
      return { mounts: mountsToProto(await named(snapshotter).mounts(ctx, key)) }
    },
    async commit({ snapshotter, name, key, labels, parent }, ctx) {
      const options: SnapshotOptions = parent ? { labels, parent } : { labels }
      await named(snapshotter).commit(ctx, name, key, options)
      return {}
    },
    async remove({ snapshotter, key }, ctx) {
      await named(snapshotter).remove(ctx, key)
      return {}
    },
    async stat({ snapshotter, key }, ctx) {
      return { info: snapshotToProto(await named(snapshotter).stat(ctx, key)) }
    },
    async update({ snapshotter, info, updateMask }, ctx) {
      const { name, labels } = snapshotFromProto(info)
      const paths = updateMask?.paths ?? []
      const updated = await named(snapshotter).update(ctx, { name, labels }, paths)
      return { info: snapshotToProto(updated) }
    },
    list: ({ snapshotter, filters }, ctx) => listBlocks(ctx, named(snapshotter), filters),
    async usage({ snapshotter, key }, ctx) {
      const { size, inodes } = await named(snapshotter).usage(ctx, key)
      return { size: BigInt(size), inodes: BigInt(inodes) }
    },
    async cleanup({ snapshotter }, ctx) {
      await named(snapshotter).cleanup(ctx)
      return {}
    },
  })
}

async function* listBlocks(ctx: Context, snapshotter: Snapshotter, filters: readonly string[]) {
  for await (const block of blocks(snapshotter.list(ctx, filters))) {
    yield { info: block.map(snapshotToProto) }
  }
}

function find(snapshotters: Snapshotters, name: string): Snapshotter {
  if (name === '') throw invalidArgument('snapshotter argument missing')
  const found = snapshotters.get(name)
  if (!found) throw invalidArgument(`snapshotter not loaded: ${name}`)
  return found
}

/** `io.containerd.grpc.v1.snapshots`. */
export const snapshotsApiPlugin = definePlugin({
  type: ApiPlugin,
  id: 'snapshots',
  requires: { snapshotters: SnapshotsService },
  init: ({ deps }) => ({ grpc: [snapshotsApi(deps.snapshotters)] }),
})
