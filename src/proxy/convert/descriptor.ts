import type { MessageInitShape } from '@bufbuild/protobuf'

import type { Descriptor } from '#core/images/images.ts'
import type { Descriptor as DescriptorMessage, DescriptorSchema } from '#gen/types/descriptor_pb.ts'

/** A descriptor as it travels. */
export const descriptorToProto = (
  descriptor: Descriptor,
): MessageInitShape<typeof DescriptorSchema> => ({
  mediaType: descriptor.mediaType,
  digest: descriptor.digest,
  size: BigInt(descriptor.size),
  annotations: { ...descriptor.annotations },
})

/** The descriptor in a message; an empty one when it is missing. */
export const descriptorFromProto = (descriptor: DescriptorMessage | undefined): Descriptor => ({
  mediaType: descriptor?.mediaType ?? '',
  digest: descriptor?.digest ?? '',
  size: Number(descriptor?.size ?? 0),
  ...(descriptor &&
    Object.keys(descriptor.annotations).length > 0 && { annotations: descriptor.annotations }),
})
