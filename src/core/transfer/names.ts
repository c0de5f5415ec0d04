import type { Context } from '#core/context.ts'
import type { Descriptor, Image, ImageStore, NewImage } from '#core/images/images.ts'
import { hasCode, notFound } from '#lib/errors/errors.ts'

import type { ImageTarget } from './transfer.ts'

/**
 * The images that `target` becomes under the names of `into`: the one it has, and further complete ones. A
 * further name goes when the first goes.
 *
 * Source: upstream `core/transfer/image/imagestore.go`, `Store`.
 * @throws `not_found` when there is no name at all.
 */
export function namedImages(target: Descriptor, into: ImageTarget): readonly NewImage[] {
  const { name, labels = {}, extraReferences = [] } = into
  const further = extraReferences
    .filter(({ isPrefix, addDigest }) => !isPrefix || addDigest)
    .map((reference) => ({
      name: reference.addDigest ? `${reference.name}@${target.digest}` : reference.name,
      labels: furtherLabels(into),
      target,
    }))
  const images = [...(name === '' ? [] : [{ name, labels, target }]), ...further]
  if (images.length === 0) throw notFound('no image name found')
  return images
}

/** Those of a further name: it is collected when nothing has the first name. */
export function furtherLabels({ name, labels = {} }: ImageTarget): Record<string, string> {
  if (name === '') return labels
  return {
    ...labels,
    'containerd.io/gc.bref.image': name,
    'containerd.io/gc.expire': new Date().toISOString().replace(/\.\d+/, ''),
  }
}

/** Creates an image, or replaces the one that has its name. */
export async function storeImage(
  ctx: Context,
  images: ImageStore,
  image: NewImage,
): Promise<Image> {
  for (;;) {
    try {
      return await images.create(ctx, image)
    } catch (err) {
      if (!hasCode(err, 'already_exists')) throw err
    }
    try {
      return await images.update(ctx, image, [])
    } catch (err) {
      // Deleted between the two.
      if (!hasCode(err, 'not_found')) throw err
    }
  }
}
