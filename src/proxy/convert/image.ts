import type { MessageInitShape } from '@bufbuild/protobuf'

import type { Image, NewImage } from '#core/images/images.ts'
import type { Image as ImageMessage, ImageSchema } from '#gen/services/images_pb.ts'

import { descriptorFromProto, descriptorToProto } from './descriptor.ts'
import { dateFromProto, dateToProto } from './timestamp.ts'

type Init = Exclude<MessageInitShape<typeof ImageSchema>, ImageMessage>

/** The fields of an image that its creator gives, as they travel; times have a field of their own. */
export const newImageToProto = (image: NewImage): Init => ({
  name: image.name,
  labels: { ...image.labels },
  target: descriptorToProto(image.target),
})

/** An image as it travels. */
export const imageToProto = (image: Image): Init => ({
  ...newImageToProto(image),
  createdAt: dateToProto(image.createdAt),
  updatedAt: dateToProto(image.updatedAt),
})

/** The fields of an image that its creator gave, without times; all empty without a message. */
export const newImageFromProto = (image: ImageMessage | undefined): NewImage => ({
  name: image?.name ?? '',
  labels: image?.labels ?? {},
  target: descriptorFromProto(image?.target),
})

/** The image in a message. */
export const imageFromProto = (image: ImageMessage | undefined): Image => ({
  ...newImageFromProto(image),
  createdAt: dateFromProto(image?.createdAt),
  updatedAt: dateFromProto(image?.updatedAt),
})
