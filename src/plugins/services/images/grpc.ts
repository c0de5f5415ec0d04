import type { MessageInitShape } from '@bufbuild/protobuf'
import type { Timestamp } from '@bufbuild/protobuf/wkt'

import type { Image, ImageStore, NewImage } from '#core/images/images.ts'
import {
  type GetImageResponseSchema,
  type Image as ImageMessage,
  Images,
} from '#gen/services/images_pb.ts'
import { CodedError } from '#lib/errors/errors.ts'
import { repeatedly } from '#lib/rpc/codec.ts'
import { type RegisteredService, implement } from '#lib/rpc/rpc.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { ApiPlugin, ImagesService, type RpcContext } from '#plugins/types.ts'
import { descriptorFromProto } from '#proxy/convert/descriptor.ts'
import { imageToProto, newImageFromProto } from '#proxy/convert/image.ts'
import { dateFromProto } from '#proxy/convert/timestamp.ts'

/** The service `containerd.services.images.v1.Images` over a store. */
export const imagesApi = (store: ImageStore): RegisteredService<RpcContext> =>
  implement(Images, {
    async get({ name }, ctx) {
      return replyWith(await store.get(ctx, name))
    },
    async list({ filters }, ctx) {
      return { images: (await store.list(ctx, filters)).map(imageToProto) }
    },
    async create({ image, sourceDateEpoch }, ctx) {
      return { image: imageToProto(await store.create(ctx, given(image, sourceDateEpoch))) }
    },
    async update({ image, updateMask, sourceDateEpoch }, ctx) {
      const paths = updateMask?.paths ?? []
      return { image: imageToProto(await store.update(ctx, given(image, sourceDateEpoch), paths)) }
    },
    async delete({ name, sync, target }, ctx) {
      await store.delete(ctx, name, {
        synchronous: sync,
        target: target && descriptorFromProto(target),
      })
      return {}
    },
  })

type Reply = MessageInitShape<typeof GetImageResponseSchema>

const replies = new WeakMap<Image, Reply>()

/** The reply to `get`. A store that gives the same object again has it encoded once. */
const replyWith = (image: Image): Reply =>
  replies.getOrInsertComputed(image, () => repeatedly({ image: imageToProto(image) }))

/** The image of a request. With an epoch, both its times are that. */
function given(image: ImageMessage | undefined, epoch: Timestamp | undefined): NewImage {
  if (!image?.name) throw new CodedError('invalid_argument', 'Image.Name required')
  const at = epoch && dateFromProto(epoch)
  return { ...newImageFromProto(image), createdAt: at, updatedAt: at }
}

/** `io.containerd.grpc.v1.images`. */
export const imagesApiPlugin = definePlugin({
  type: ApiPlugin,
  id: 'images',
  requires: { images: ImagesService },
  init: ({ deps }) => ({ grpc: [imagesApi(deps.images)] }),
})
