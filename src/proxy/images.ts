import type { Context } from '#core/context.ts'
import type { DeleteImageOptions, Image, ImageStore, NewImage } from '#core/images/images.ts'
import { Images } from '#gen/services/images_pb.ts'
import type { Connection, ServiceClient } from '#lib/rpc/rpc.ts'

import { callOptions } from './call.ts'
import { descriptorToProto } from './convert/descriptor.ts'
import { imageFromProto, newImageToProto } from './convert/image.ts'
import { dateToProto } from './convert/timestamp.ts'

/** The images of another daemon. */
export class RemoteImageStore implements ImageStore {
  readonly #client: ServiceClient<typeof Images>

  constructor(connection: Connection) {
    this.#client = connection.client(Images)
  }

  async get(ctx: Context, name: string): Promise<Image> {
    const { image } = await this.#client.get({ name }, callOptions(ctx))
    return imageFromProto(image)
  }

  async list(ctx: Context, filters: readonly string[] = []): Promise<readonly Image[]> {
    const { images } = await this.#client.list({ filters: [...filters] }, callOptions(ctx))
    return images.map(imageFromProto)
  }

  async create(ctx: Context, given: NewImage): Promise<Image> {
    const epoch = given.createdAt
    const request = {
      image: newImageToProto(given),
      ...(epoch && { sourceDateEpoch: dateToProto(epoch) }),
    }
    const { image } = await this.#client.create(request, callOptions(ctx))
    return imageFromProto(image)
  }

  async update(ctx: Context, given: NewImage, paths: readonly string[]): Promise<Image> {
    const epoch = given.updatedAt
    const request = {
      image: newImageToProto(given),
      updateMask: { paths: [...paths] },
      ...(epoch && { sourceDateEpoch: dateToProto(epoch) }),
    }
    const { image } = await this.#client.update(request, callOptions(ctx))
    return imageFromProto(image)
  }

  async delete(ctx: Context, name: string, options: DeleteImageOptions = {}): Promise<void> {
    const { synchronous: sync = false, target } = options
    const request = { name, sync, ...(target && { target: descriptorToProto(target) }) }
    await this.#client.delete(request, callOptions(ctx))
  }
}
