import { definePlugin } from '#plugin/plugin.ts'
import { SnapshotPlugin } from '#plugins/types.ts'

import { openBlockfile } from './blockfile.ts'

/** `[plugins."io.containerd.snapshotter.v1.blockfile"]` in config.toml. */
export interface BlockfileConfig {
  /** Where snapshots live; empty for the plugin's own root directory. */
  readonly rootPath: string
  /** A file with an empty file system, which every snapshot without a parent begins as a copy of. */
  readonly scratchFile: string
  /** What file system that is; empty for ext4. */
  readonly fsType: string
  /** How it is mounted, besides `loop`. */
  readonly mountOptions: readonly string[]
  /** Copy `scratchFile` at each start, not only when there is no copy. */
  readonly recreateScratch: boolean
}

const defaults: BlockfileConfig = {
  rootPath: '',
  scratchFile: '',
  fsType: '',
  mountOptions: [],
  recreateScratch: false,
}

export const blockfilePlugin = definePlugin({
  type: SnapshotPlugin,
  id: 'blockfile',
  config: defaults,
  describe: {
    rootPath: 'Where snapshots live; empty for the plugin’s own root directory.',
    scratchFile:
      'A file with an empty file system; a snapshot without a parent begins as its copy.',
    fsType: 'What file system scratch_file holds; empty for ext4.',
    mountOptions: 'How it is mounted, besides loop.',
    recreateScratch: 'Copy scratch_file at each start, not only when there is no copy yet.',
  },

  async init({ ctx, config, rootDir, meta }) {
    const root = config.rootPath || rootDir
    meta.platforms.push(`linux/${process.arch === 'x64' ? 'amd64' : process.arch}`)
    meta.exports['root'] = root
    const { scratchFile, recreateScratch, mountOptions } = config
    const fsType = config.fsType || 'ext4'
    return await openBlockfile(ctx, root, { scratchFile, recreateScratch, fsType, mountOptions })
  },
})
