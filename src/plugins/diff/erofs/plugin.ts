import { unimplemented } from '#lib/errors/errors.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { DiffPlugin, MetadataPlugin } from '#plugins/types.ts'

import { ErofsDiffer } from './differ.ts'

/** `[plugins."io.containerd.differ.v1.erofs"]` in config.toml. */
export interface ErofsDifferConfig {
  /** For mkfs.erofs when it converts a layer, which is left to the snapshotter here. */
  readonly mkfsOptions: readonly string[]
  /** Keep the tar archive, with an index that makes it an image. */
  readonly enableTarIndex: boolean
  /** Add what dm-verity checks images by. */
  readonly enableDmverity: boolean
}

const defaults: ErofsDifferConfig = {
  mkfsOptions: [],
  enableTarIndex: false,
  enableDmverity: false,
}

/** `io.containerd.differ.v1.erofs`. */
export const erofsDifferPlugin = definePlugin({
  type: DiffPlugin,
  id: 'erofs',
  requires: { metadata: MetadataPlugin },
  config: defaults,
  describe: {
    mkfsOptions: 'For mkfs.erofs when it converts tar layers; not built yet, refused.',
    enableTarIndex: 'Keep tar layers as they are, with an index; not built yet, refused.',
    enableDmverity: 'Add what dm-verity checks images by; not built yet, refused.',
  },
  init({ config, deps, meta }) {
    if (config.mkfsOptions.length > 0) throw unimplemented('mkfs_options of the erofs differ')
    if (config.enableTarIndex) throw unimplemented('enable_tar_index of the erofs differ')
    if (config.enableDmverity) throw unimplemented('enable_dmverity of the erofs differ')
    meta.platforms.push(`linux/${process.arch === 'x64' ? 'amd64' : process.arch}`)
    return new ErofsDiffer(deps.metadata.content)
  },
})
