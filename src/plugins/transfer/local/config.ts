import { text, texts } from '#core/images/oci.ts'
import { hostPlatformName } from '#core/platforms/platforms.ts'

type Table = Readonly<Record<string, unknown>>

/** One `[[unpack_config]]`: how images of a platform are unpacked. */
export interface UnpackConfig {
  /** `linux/amd64`. */
  readonly platform: string
  readonly snapshotter: string
  /** The one that unpacks any tar when empty. */
  readonly differ: string
  /** Media type of the configs of such images; those of OCI and Docker when empty. */
  readonly configType: string
  /** Media types of layers, besides those of OCI and Docker. */
  readonly layerTypes: readonly string[]
  /** Leave it out when the snapshotter or the differ is not running. */
  readonly optional: boolean
}

/** `[plugins."io.containerd.transfer.v1.local"]` in config.toml. */
export interface TransferConfig {
  readonly maxConcurrentDownloads: number
  readonly concurrentLayerFetchBuffer: number
  readonly maxConcurrentUploadedLayers: number
  readonly maxConcurrentUnpacks: number
  readonly checkPlatformSupported: boolean
  readonly configPath: string
  /** As they stand in the file. */
  readonly unpackConfig: readonly Table[]
}

const here = { platform: hostPlatformName, snapshotter: 'overlayfs', differ: 'walking' }

/** Images whose layers are EROFS, where the machine has what that takes. */
const erofs = {
  platform: hostPlatformName.replace('/', '(+erofs)/'),
  snapshotter: 'erofs',
  differ: 'erofs',
  optional: true,
}

export const transferDefaults: TransferConfig = {
  maxConcurrentDownloads: 3,
  concurrentLayerFetchBuffer: 0,
  maxConcurrentUploadedLayers: 3,
  maxConcurrentUnpacks: 0,
  checkPlatformSupported: false,
  configPath: '',
  unpackConfig: [here, erofs],
}

export const transferKeys = {
  maxConcurrentDownloads: 'How many blobs all pulls together receive at once; 0 for any number.',
  concurrentLayerFetchBuffer:
    'Receive large layers in parts of so many bytes, over several connections; 0 to do so when one is slow.',
  maxConcurrentUploadedLayers: 'How many blobs all pushes together send at once; 0 for any number.',
  maxConcurrentUnpacks:
    'How many layers all pulls and imports together extract at once; 0 for four of each image.',
  checkPlatformSupported:
    'Unpack only what is made for a platform of unpack_config; else whatever is for its system.',
  configPath: 'Directories of hosts.toml files, with colons between them.',
  unpackConfig:
    'Which snapshotter and differ unpack images of a platform, config_type and layer_types; the first that suits.',
} as const

/** What an `[[unpack_config]]` means. */
export const unpackConfigOf = (table: Table): UnpackConfig => ({
  platform: text(table['platform']),
  snapshotter: text(table['snapshotter']),
  differ: text(table['differ']),
  configType: text(table['config_type']),
  layerTypes: texts(table['layer_types']),
  optional: table['optional'] === true,
})
