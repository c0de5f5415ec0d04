import { definePlugin } from '#plugin/plugin.ts'
import { SnapshotPlugin } from '#plugins/types.ts'

import { openBtrfs } from './btrfs.ts'

/** `[plugins."io.containerd.snapshotter.v1.btrfs"]` in config.toml. */
export interface BtrfsConfig {
  /** Where snapshots live, on btrfs; empty for the plugin's own root directory. */
  readonly rootPath: string
}

const defaults: BtrfsConfig = { rootPath: '' }

export const btrfsPlugin = definePlugin({
  type: SnapshotPlugin,
  id: 'btrfs',
  config: defaults,
  describe: {
    rootPath: 'Where snapshots live, on btrfs; empty for the plugin’s own root directory.',
  },

  async init({ ctx, config, rootDir, meta }) {
    const root = config.rootPath || rootDir
    meta.platforms.push(`linux/${process.arch === 'x64' ? 'amd64' : process.arch}`)
    meta.exports['root'] = root
    return await openBtrfs(ctx, root)
  },
})
