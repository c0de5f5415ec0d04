import type { MessageInitShape } from '@bufbuild/protobuf'

import type { Mount } from '#core/mount/mount.ts'
import type { Mount as MountMessage, MountSchema } from '#gen/types/mount_pb.ts'

/** Mounts as they travel. */
export const mountsToProto = (mounts: readonly Mount[]): MessageInitShape<typeof MountSchema>[] =>
  mounts.map(({ type, source, target, options }) => ({
    type,
    source,
    target: target ?? '',
    options: [...options],
  }))

/** The mounts in messages. */
export const mountsFromProto = (mounts: readonly MountMessage[]): Mount[] =>
  mounts.map(({ type, source, target, options }) => ({
    type,
    source,
    ...(target && { target }),
    options,
  }))
