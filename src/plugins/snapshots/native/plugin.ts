import { definePlugin } from '#plugin/plugin.ts'
import { SnapshotPlugin } from '#plugins/types.ts'

import { openNative } from './native.ts'

/** `[plugins."io.containerd.snapshotter.v1.native"]` in config.toml. */
export interface NativeConfig {
  /** Where snapshots live; empty for the plugin's own root directory. */
  readonly rootPath: string
}

const defaults: NativeConfig = { rootPath: '' }

export const nativePlugin = definePlugin({
  type: SnapshotPlugin,
  id: 'native',
  config: defaults,
  describe: { rootPath: 'Where snapshots live; empty for the plugin’s own root directory.' },

  async init({ ctx, config, rootDir, meta }) {
    const root = config.rootPath || rootDir
    meta.platforms.push(`linux/${process.arch === 'x64' ? 'amd64' : process.arch}`)
    meta.exports['root'] = root
    return await openNative(ctx, root)
  },
})
