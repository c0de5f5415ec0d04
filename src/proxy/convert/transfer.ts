import type { MessageInitShape } from '@bufbuild/protobuf'

import { hostPlatform } from '#core/platforms/platforms.ts'
import type {
  ExportOptions,
  ImageReference,
  ImageSource,
  ImageTarget,
  Progress,
  UnpackTarget,
} from '#core/transfer/transfer.ts'
import type {
  ImageReference as ReferenceMessage,
  ImageStore,
  ImageStoreSchema,
  UnpackConfiguration,
} from '#gen/types/transfer/imagestore_pb.ts'
import type {
  ImageExportStream,
  ImageExportStreamSchema,
} from '#gen/types/transfer/importexport_pb.ts'
import type {
  Progress as ProgressMessage,
  ProgressSchema,
} from '#gen/types/transfer/progress_pb.ts'
import { unimplemented } from '#lib/errors/errors.ts'

import { descriptorFromProto, descriptorToProto } from './descriptor.ts'
import { platformFromProto, platformToProto } from './platform.ts'

/*
 * The ends of a transfer as they travel. One message, `ImageStore`, is where images go and where they
 * come from. Source: upstream `core/transfer/image/imagestore.go`, `core/transfer/archive`.
 */

/** Where images go, as it travels. */
export const imageTargetToProto = (
  target: ImageTarget,
): MessageInitShape<typeof ImageStoreSchema> => ({
  name: target.name,
  labels: { ...target.labels },
  platforms: (target.platforms ?? []).map(platformToProto),
  allMetadata: target.allMetadata ?? false,
  manifestLimit: target.manifestLimit ?? 0,
  extraReferences: (target.extraReferences ?? []).map((reference) => ({ ...reference })),
  unpacks: (target.unpacks ?? []).map(({ platform, snapshotter = '' }) => ({
    snapshotter,
    ...(platform && { platform: platformToProto(platform) }),
  })),
})

/** The reverse. */
export const imageTargetFromProto = (store: ImageStore): ImageTarget => ({
  name: store.name,
  labels: store.labels,
  platforms: store.platforms.map(platformFromProto),
  allMetadata: store.allMetadata,
  manifestLimit: store.manifestLimit,
  extraReferences: store.extraReferences.map(referenceFromProto),
  unpacks: store.unpacks.map(unpackFromProto),
})

const referenceFromProto = (reference: ReferenceMessage): ImageReference => ({
  name: reference.name,
  isPrefix: reference.isPrefix,
  allowOverwrite: reference.allowOverwrite,
  addDigest: reference.addDigest,
  skipNamedDigest: reference.skipNamedDigest,
})

const unpackFromProto = ({ platform, snapshotter }: UnpackConfiguration): UnpackTarget => ({
  ...(platform && { platform: platformFromProto(platform) }),
  ...(snapshotter !== '' && { snapshotter }),
})

/** The image that goes out. */
export const imageSourceFromProto = ({ name, platforms }: ImageStore): ImageSource => ({
  name,
  platforms: platforms.map(platformFromProto),
})

/** The images that go into an archive: the one that has the name, and those of the other names. */
export function exportedFromProto(
  store: ImageStore,
  stream: ImageExportStream,
): readonly ImageSource[] {
  if (store.extraReferences.some(({ isPrefix }) => isPrefix)) {
    throw unimplemented('prefix lookup on export not implemented')
  }
  const given = stream.platforms.map(platformFromProto)
  const platforms = given.length > 0 ? given : [hostPlatform]
  const names = [store.name, ...store.extraReferences.map(({ name }) => name)]
  return names.filter((name) => name !== '').map((name) => ({ name, platforms }))
}

/** How an archive is made. */
export const exportOptionsFromProto = (stream: ImageExportStream): ExportOptions => ({
  allPlatforms: stream.allPlatforms,
  skipCompatibilityManifest: stream.skipCompatibilityManifest,
  skipNonDistributable: stream.skipNonDistributable,
})

/** The archive that images go into, as it travels. */
export const exportStreamToProto = (
  stream: string,
  images: readonly ImageSource[],
  options: ExportOptions,
): MessageInitShape<typeof ImageExportStreamSchema> => ({
  stream,
  platforms: (images[0]?.platforms ?? []).map(platformToProto),
  allPlatforms: options.allPlatforms ?? false,
  skipCompatibilityManifest: options.skipCompatibilityManifest ?? false,
  skipNonDistributable: options.skipNonDistributable ?? false,
})

/** How far a transfer is, as it travels. */
export const progressToProto = (progress: Progress): MessageInitShape<typeof ProgressSchema> => ({
  event: progress.event,
  name: progress.name ?? '',
  parents: [...(progress.parents ?? [])],
  progress: BigInt(Math.trunc(progress.progress ?? 0)),
  total: BigInt(Math.trunc(progress.total ?? 0)),
  ...(progress.descriptor && { desc: descriptorToProto(progress.descriptor) }),
})

/** The reverse. */
export const progressFromProto = (progress: ProgressMessage): Progress => ({
  event: progress.event,
  ...(progress.name !== '' && { name: progress.name }),
  ...(progress.parents.length > 0 && { parents: progress.parents }),
  progress: Number(progress.progress),
  total: Number(progress.total),
  ...(progress.desc && { descriptor: descriptorFromProto(progress.desc) }),
})
