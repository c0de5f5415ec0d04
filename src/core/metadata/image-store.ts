import { type Context, namespaceOf } from '#core/context.ts'
import type { DeleteImageOptions, Image, ImageStore, NewImage } from '#core/images/images.ts'
import type { Bucket, ReadBucket } from '#lib/bolt/database.ts'
import { alreadyExists, invalidArgument, notFound } from '#lib/errors/errors.ts'
import { parseFilters } from '#lib/filters/filters.ts'

import { adaptImage } from './adaptors.ts'
import { writeTime } from './fields.ts'
import { maskImage, readImage, validateImage, writeImage } from './image-record.ts'
import { expireLabel } from './gc-labels.ts'
import { addToLease, removeFromLease } from './lease-links.ts'
import { RecordCache } from './record-cache.ts'
import type { Records } from './records.ts'
import { buckets, find, imagesOf, make } from './schema.ts'
import { quote } from './wrap.ts'

/** How many images are remembered as long as nothing is written. */
const rememberedImages = 1024

/** Images as records of the database. */
export class BoltImageStore implements ImageStore {
  readonly #records: Records
  readonly #known = new RecordCache<Image>(rememberedImages)

  constructor(records: Records) {
    this.#records = records
  }

  async get(ctx: Context, name: string): Promise<Image> {
    const ns = namespaceOf(ctx)
    ctx.signal.throwIfAborted()
    const { revision } = this.#records
    return await Promise.resolve(
      this.#known.get(revision, `${ns}/${name}`, () => this.#read(ns, name)),
    )
  }

  #read(ns: string, name: string): Image {
    return this.#records.view((tx) => {
      const bucket = find(tx, [...imagesOf(ns), name])
      if (!bucket) throw missing(name)
      return readNamed(bucket, name)
    })
  }

  async list(ctx: Context, filters?: readonly string[]): Promise<readonly Image[]> {
    const ns = namespaceOf(ctx)
    ctx.signal.throwIfAborted()
    const matches = parseFilters(filters)
    return await Promise.resolve(
      this.#records.view((tx) =>
        Array.from(buckets(find(tx, imagesOf(ns))), ([name, bucket]) =>
          readNamed(bucket, name),
        ).filter((image) => matches(adaptImage(image))),
      ),
    )
  }

  async create(ctx: Context, image: NewImage): Promise<Image> {
    const ns = namespaceOf(ctx)
    validateImage(image)
    return await this.#records.update(ctx, (tx) => {
      const images = make(tx, imagesOf(ns))
      lease(tx, ctx, image)
      if (images.bucket(image.name)) throw alreadyExists(`image ${quote(image.name)}`)
      const createdAt = image.createdAt ?? new Date()
      const bucket = images.createBucket(image.name)
      writeTime(bucket, 'createdat', createdAt)
      return { ...writeImage(bucket, image, createdAt), createdAt, updatedAt: createdAt }
    })
  }

  async update(ctx: Context, image: NewImage, paths: readonly string[]): Promise<Image> {
    const ns = namespaceOf(ctx)
    const { name } = image
    if (name === '') throw invalidArgument('image name is required for update')
    return await this.#records.update(ctx, (tx) => {
      const bucket = find(tx, [...imagesOf(ns), name])
      if (!bucket) throw missing(name)
      const current = readNamed(bucket, name)
      const updated = maskImage(current, image, paths)
      validateImage(updated)
      lease(tx, ctx, updated)
      const { createdAt } = current
      const updatedAt = image.updatedAt ?? new Date()
      return { ...writeImage(bucket, updated, updatedAt), createdAt, updatedAt }
    })
  }

  async delete(ctx: Context, name: string, options?: DeleteImageOptions): Promise<void> {
    const ns = namespaceOf(ctx)
    await this.#records.update(ctx, (tx) => {
      const images = find(tx, imagesOf(ns))
      const bucket = images && find(images, [name])
      if (!bucket) throw missing(name)
      const { digest } = readImage(bucket, name).target
      const wanted = options?.target?.digest ?? ''
      if (wanted !== '' && digest !== wanted) {
        throw notFound(`image ${quote(name)} has target ${digest}, not ${wanted}`)
      }
      removeFromLease(tx, ctx, ['images'], name)
      images.deleteBucket(name)
      this.#records.markDeleted()
    })
  }
}

const missing = (name: string): Error => notFound(`image ${quote(name)}`)

/** The image in `bucket`; an error says which one could not be read. */
function readNamed(bucket: ReadBucket, name: string): Image {
  try {
    return readImage(bucket, name)
  } catch (cause) {
    throw new Error(`image ${quote(name)}`, { cause })
  }
}

/** Only an image that can expire needs a lease; the others stay by themselves. */
function lease(tx: Bucket, ctx: Context, image: NewImage): void {
  if (Object.hasOwn(image.labels, expireLabel)) addToLease(tx, ctx, ['images'], image.name)
}
