import { rebaseCapability, settleCapability } from '#core/snapshots/snapshotter.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { SnapshotPlugin } from '#plugins/types.ts'

import { OverlaySnapshotter } from './overlay.ts'
import { inUserNamespace, supportsIdMapping } from './probe.ts'

/** `[plugins."io.containerd.snapshotter.v1.overlayfs"]` in config.toml. */
export interface OverlayConfig {
  /** Where snapshots live; empty for the plugin's own root directory. */
  readonly rootPath: string
  /** Show each snapshot's upper directory as a label. */
  readonly upperdirLabel: boolean
  /** Delete directories inside `remove` instead of leaving them to the collector. */
  readonly syncRemove: boolean
  /**
   * Let clients chown a whole tree when the kernel cannot id-map it: slow, and doubles the disk it
   * uses. What the snapshotter does is to tell them, by the capability `only-remap-ids`.
   */
  readonly slowChown: boolean
  /** Added to overlay mounts; bind mounts do not get them. */
  readonly mountOptions: readonly string[]
}

const defaults: OverlayConfig = {
  rootPath: '',
  upperdirLabel: false,
  syncRemove: false,
  slowChown: false,
  mountOptions: [],
}

export const overlayPlugin = definePlugin({
  type: SnapshotPlugin,
  id: 'overlayfs',
  config: defaults,
  describe: {
    rootPath: 'Where snapshots live; empty for the plugin’s own root directory.',
    upperdirLabel: 'Show each snapshot’s upper directory as a label.',
    syncRemove: 'Delete directories inside remove instead of leaving them to the collector.',
    slowChown:
      'Let clients chown a whole tree when the kernel cannot id-map it: slow, and doubles its disk.',
    mountOptions: 'Added to overlay mounts; bind mounts do not get them.',
  },

  async init({ ctx, config, rootDir, meta }) {
    const root = config.rootPath || rootDir
    meta.platforms.push(`linux/${process.arch === 'x64' ? 'amd64' : process.arch}`)
    meta.exports['root'] = root
    const remapIds = supportsIdMapping(root)
    if (remapIds) meta.capabilities.push('remap-ids')
    if (!config.slowChown) meta.capabilities.push('only-remap-ids')
    // A layer that is unpacked on its own needs whiteouts, devices only the machine's root can make.
    if (!inUserNamespace()) meta.capabilities.push(rebaseCapability, settleCapability)

    return await OverlaySnapshotter.open(ctx, root, {
      asyncRemove: !config.syncRemove,
      upperdirLabel: config.upperdirLabel,
      mountOptions: config.mountOptions,
      remapIds,
    })
  },
})
