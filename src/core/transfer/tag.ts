import type { Context } from '#core/context.ts'
import type { Image } from '#core/images/images.ts'
import { notFound } from '#lib/errors/errors.ts'

import { underLease } from './lease.ts'
import { namedImages, storeImage } from './names.ts'
import type { TransferStores } from './stores.ts'
import type { ImageTarget } from './transfer.ts'

/** See `Transferrer.tag`. Source: upstream `core/transfer/local/tag.go`. */
export async function tagImage(
  ctx: Context,
  stores: Pick<TransferStores, 'images' | 'leases'>,
  name: string,
  into: ImageTarget,
): Promise<Image> {
  await using leased = await underLease(ctx, stores.leases)
  const { target } = await stores.images.get(leased.ctx, name)
  let first: Image | undefined
  for (const image of namedImages(target, into)) {
    const stored = await storeImage(leased.ctx, stores.images, image)
    first ??= stored
  }
  if (!first) throw notFound('no image name found')
  return first
}
