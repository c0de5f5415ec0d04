import { isAbsolute } from 'node:path'

import { rebaseCapability } from '#core/snapshots/snapshotter.ts'
import { invalidArgument, unimplemented } from '#lib/errors/errors.ts'
import { parseRamSize } from '#lib/go/ram-size.ts'
import { SkipPlugin, definePlugin } from '#plugin/plugin.ts'
import { SnapshotPlugin } from '#plugins/types.ts'

import { ErofsSnapshotter } from './erofs.ts'
import type { VerityMode } from './files.ts'
import { missingForErofs, supportsIdMapping } from './probe.ts'

/** `[plugins."io.containerd.snapshotter.v1.erofs"]` in config.toml. */
export interface ErofsConfig {
  /** Where snapshots live; empty for the plugin's own root directory. */
  readonly rootPath: string
  /** Added to overlay mounts. */
  readonly ovlMountOptions: readonly string[]
  /** Have the kernel check images by fs-verity. */
  readonly enableFsverity: boolean
  /** Mark images so that nobody can change or remove them by accident. */
  readonly setImmutable: boolean
  /** Size of an ext4 file for what is written to a snapshot; empty or 0 for a directory. */
  readonly defaultSize: string
  /** Whether images are checked by dm-verity: `auto` those that can be, `on` all, `off` none. */
  readonly dmverityMode: string
  /** Directories of images to use instead of unpacking layers. */
  readonly layerContentCaches: readonly string[]
}

const defaults: ErofsConfig = {
  rootPath: '',
  ovlMountOptions: [],
  enableFsverity: false,
  setImmutable: false,
  defaultSize: '',
  dmverityMode: '',
  layerContentCaches: [],
}

export const erofsPlugin = definePlugin({
  type: SnapshotPlugin,
  id: 'erofs',
  config: defaults,
  describe: {
    rootPath: 'Where snapshots live; empty for the plugin’s own root directory.',
    ovlMountOptions: 'Added to overlay mounts.',
    enableFsverity: 'Have the kernel check images by fs-verity.',
    setImmutable: 'Mark images so that nobody can change or remove them by accident.',
    defaultSize: 'Size of an ext4 file for what is written to a snapshot; empty for a directory.',
    dmverityMode: 'dm-verity: auto or empty, or off; on is refused, it is not built yet.',
    layerContentCaches: 'Directories of images to use instead of unpacking layers.',
  },

  async init({ ctx, config, rootDir, meta }) {
    const verity = verityMode(config.dmverityMode)
    refuse(config, verity)
    const missing = missingForErofs()
    if (missing !== undefined) throw new SkipPlugin(missing)
    const root = config.rootPath || rootDir
    meta.platforms.push(`linux/${process.arch === 'x64' ? 'amd64' : process.arch}`)
    meta.exports['root'] = root
    const remapIds = supportsIdMapping()
    const writableBytes = config.defaultSize === '' ? 0 : parseRamSize(config.defaultSize)
    meta.capabilities.push('only-remap-ids', ...(remapIds ? ['remap-ids'] : []))
    // Who unpacks a layer alone makes an overlay of its bind mount, to have deletions marked. What is
    // written to a file has more mounts than that, and deletions would be lost. (So they are upstream.)
    if (writableBytes === 0) meta.capabilities.push(rebaseCapability)
    return await ErofsSnapshotter.open(ctx, root, {
      overlayOptions: config.ovlMountOptions,
      immutable: config.setImmutable,
      writableBytes,
      verity,
      remapIds,
      fsVerity: config.enableFsverity,
      caches: config.layerContentCaches,
    })
  },
})

function verityMode(text: string): VerityMode {
  if (text === '') return 'auto'
  if (text === 'auto' || text === 'on' || text === 'off') return text
  throw invalidArgument(`dmverity_mode ${JSON.stringify(text)}: must be "auto", "on", or "off"`)
}

/** What is asked for and would silently not happen, or harm what is not the snapshotter's. */
function refuse(config: ErofsConfig, verity: VerityMode): void {
  if (verity === 'on') throw unimplemented('dmverity_mode "on" of the erofs snapshotter')
  if (config.layerContentCaches.length === 0) return
  if (config.enableFsverity || config.setImmutable) {
    throw invalidArgument(
      'layer_content_caches goes with neither enable_fsverity nor set_immutable',
    )
  }
  const relative = config.layerContentCaches.find((dir) => !isAbsolute(dir))
  if (relative === undefined) return
  throw invalidArgument(`layer_content_caches ${JSON.stringify(relative)} must be an absolute path`)
}
