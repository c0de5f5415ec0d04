import type { LeaseManager } from '#core/leases/leases.ts'
import type { Scheduler } from '#core/gc/gc.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { GcPlugin, LeasePlugin, MetadataPlugin } from '#plugins/types.ts'

/** Leases; deleting one synchronously waits until what only it held is gone. */
export const leasesPlugin = definePlugin({
  type: LeasePlugin,
  id: 'manager',
  requires: { metadata: MetadataPlugin, gc: GcPlugin },
  init: ({ deps }) => collectingLeases(deps.metadata.leases, deps.gc),
})

/** `leases`, with a `delete` that can wait for the collector. */
export const collectingLeases = (leases: LeaseManager, gc: Scheduler): LeaseManager => ({
  create: (ctx, lease) => leases.create(ctx, lease),
  async delete(ctx, id, options) {
    await leases.delete(ctx, id)
    if (options?.synchronous) await gc.collect(ctx)
  },
  list: (ctx, filters) => leases.list(ctx, filters),
  addResource: (ctx, id, resource) => leases.addResource(ctx, id, resource),
  deleteResource: (ctx, id, resource) => leases.deleteResource(ctx, id, resource),
  listResources: (ctx, id) => leases.listResources(ctx, id),
})
