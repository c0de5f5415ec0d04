import { definePlugin } from '#plugin/plugin.ts'
import { MetadataPlugin, SnapshotsService } from '#plugins/types.ts'

/** `io.containerd.service.v1.snapshots-service`: every snapshotter, as the namespace of a call sees it. */
export const snapshotsServicePlugin = definePlugin({
  type: SnapshotsService,
  id: 'snapshots-service',
  requires: { metadata: MetadataPlugin },
  init: ({ deps }) => deps.metadata.snapshotters,
})
