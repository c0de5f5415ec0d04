import { convertImage, type ConvertProgress } from '#core/images/convert/convert.ts'
import type { LayerCompression } from '#core/images/convert/media-types.ts'
import type { Image } from '#core/images/images.ts'
import { orderedPlatforms } from '#core/platforms/match.ts'
import { parsePlatform } from '#core/platforms/platforms.ts'
import { storeImage } from '#core/transfer/names.ts'
import { refKey } from '#core/transfer/ref-key.ts'
import type { Progress } from '#core/transfer/transfer.ts'
import { CodedError, describe, hasCode } from '#lib/errors/errors.ts'

import { TemporaryLease } from './lease.ts'
import type { Session } from './session.ts'
import type { TransferOptions } from './transfer/options.ts'
import { hearing } from './transfer/progress.ts'

/** How to convert an image. */
export interface ConvertOptions extends TransferOptions {
  /** How layers shall be compressed; as they are without it. zstd gives the types of OCI. */
  readonly layers?: LayerCompression
  /** Types of OCI instead of Docker's. */
  readonly oci?: boolean
  /** `os/arch` of those that stay in an index; all without it. */
  readonly platforms?: readonly string[]
}

/** Converts the image `name`, here, and calls the result `as`: it may be the same. */
export async function convertAs(
  session: Session,
  name: string,
  as: string,
  { layers, oci, platforms, ...options }: ConvertOptions,
): Promise<Image> {
  await using lease = await TemporaryLease.take(session, options)
  const ctx = lease.session.context(options)
  const { labels, target } = await session.images.get(ctx, name)
  const { onProgress } = hearing(options)
  const converting = convertImage(ctx, session.content, target, {
    ...(layers && { layers }),
    ...(oci !== undefined && { oci }),
    ...(platforms && { platforms: orderedPlatforms(platforms.map(parsePlatform)) }),
    ...(onProgress && { onProgress: (progress) => onProgress(progressOf(progress)) }),
  })
  const made = await converting.catch((err: unknown) => {
    throw hasCode(err, 'not_found') ? incomplete(name, err) : err
  })
  return await storeImage(ctx, session.images, { name: as, labels, target: made })
}

const progressOf = ({ event, layer, done }: ConvertProgress): Progress => ({
  event,
  name: refKey(layer),
  progress: done,
  total: layer.size,
  descriptor: layer,
})

function incomplete(name: string, cause: unknown): CodedError {
  const todo = 'convert only platforms that are here, or pull the others first'
  return new CodedError('not_found', `convert image ${name}: ${describe(cause)}; ${todo}`, {
    cause,
  })
}
