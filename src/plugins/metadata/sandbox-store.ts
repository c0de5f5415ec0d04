import { definePlugin } from '#plugin/plugin.ts'
import { MetadataPlugin, SandboxStorePlugin } from '#plugins/types.ts'

/** Records of sandboxes, in the metadata. */
export const sandboxStorePlugin = definePlugin({
  type: SandboxStorePlugin,
  id: 'local',
  requires: { metadata: MetadataPlugin },
  init: ({ deps }) => deps.metadata.sandboxes,
})
