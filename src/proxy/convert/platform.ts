import type { MessageInitShape } from '@bufbuild/protobuf'

import type { Platform } from '#core/images/platform.ts'
import type { Platform as PlatformMessage, PlatformSchema } from '#gen/types/platform_pb.ts'

/** A platform as it travels. */
export const platformToProto = ({
  os,
  architecture,
  variant,
}: Platform): MessageInitShape<typeof PlatformSchema> => ({ os, architecture, variant })

/** The reverse. */
export const platformFromProto = ({ os, architecture, variant }: PlatformMessage): Platform => ({
  os,
  architecture,
  variant,
})
