import type { MessageInitShape } from '@bufbuild/protobuf'

import type { Platform } from '#core/platforms/platforms.ts'
import type { Platform as PlatformMessage, PlatformSchema } from '#gen/types/platform_pb.ts'

/** A platform as it travels. */
export const platformToProto = ({
  osVersion = '',
  osFeatures = [],
  ...machine
}: Platform): MessageInitShape<typeof PlatformSchema> => ({
  ...machine,
  osVersion,
  osFeatures: [...osFeatures],
})

/** The reverse. */
export const platformFromProto = (message: PlatformMessage): Platform => {
  const { os, architecture, variant, osVersion, osFeatures } = message
  return {
    os,
    architecture,
    variant,
    ...(osVersion !== '' && { osVersion }),
    ...(osFeatures.length > 0 && { osFeatures }),
  }
}
