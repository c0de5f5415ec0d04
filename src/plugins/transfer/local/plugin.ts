import { definePlugin, each } from '#plugin/plugin.ts'
import {
  DiffPlugin,
  ImagesService,
  ImageVerifierPlugin,
  LeasePlugin,
  MetadataPlugin,
  SnapshotPlugin,
  TransferPlugin,
} from '#plugins/types.ts'

import { type TransferConfig, transferDefaults, transferKeys } from './config.ts'
import { configuredPlaces } from './places.ts'
import { LocalTransfers } from './transfers.ts'
import { everyVerifier } from './verifiers.ts'

const types = { snapshotter: SnapshotPlugin.name, differ: DiffPlugin.name }

/** Transfers between registries, archives and the stores of this daemon. */
export const transferPlugin = definePlugin({
  type: TransferPlugin,
  id: 'local',
  requires: {
    leases: LeasePlugin,
    metadata: MetadataPlugin,
    differs: each(DiffPlugin),
    verifiers: each(ImageVerifierPlugin),
    snapshotters: each(SnapshotPlugin),
    images: ImagesService,
  },
  config: transferDefaults,
  describe: transferKeys,
  live: ['configPath'],
  init({ config, daemon, deps }) {
    const { content } = deps.metadata
    const unpackPlace = configuredPlaces({
      config,
      metadata: deps.metadata,
      differs: deps.differs,
      metaOf: (kind, id) =>
        daemon
          .plugins()
          .find(({ plugin, state }) => state === 'running' && plugin.uri === `${types[kind]}.${id}`)
          ?.meta,
    })
    return new LocalTransfers({
      stores: { content, images: deps.images, leases: deps.leases, unpackPlace },
      verifiers: everyVerifier(deps.verifiers, daemon.plugins()),
      hostsDirs: hostsDirsOf(config),
      downloadsAtOnce: config.maxConcurrentDownloads,
      partBytes: config.concurrentLayerFetchBuffer,
      uploadsAtOnce: config.maxConcurrentUploadedLayers,
    })
  },
  reload(transfers, config) {
    if (transfers instanceof LocalTransfers) transfers.configure(hostsDirsOf(config))
  },
})

const hostsDirsOf = ({ configPath }: TransferConfig): readonly string[] =>
  configPath.split(':').filter((dir) => dir !== '')
