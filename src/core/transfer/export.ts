import type { Context } from '#core/context.ts'
import { exportArchive } from '#core/images/archive/export-archive.ts'
import type { ExportedImage } from '#core/images/archive/export-parts.ts'
import { orderedPlatforms } from '#core/platforms/match.ts'

import { underLease } from './lease.ts'
import type { TransferStores } from './stores.ts'
import type { ExportOptions, ImageSource } from './transfer.ts'

/**
 * See `Transferrer.export`. How far it is, is told of the transfer as a whole: what has a name `ctr` shows on its
 * standard output, where the archive is too in `ctr image export -`.
 *
 * Source: upstream `core/transfer/local/export.go`.
 */
export async function* exportImages(
  ctx: Context,
  stores: Pick<TransferStores, 'content' | 'images' | 'leases'>,
  sources: readonly ImageSource[],
  options: ExportOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const { onProgress: report = () => {} } = options
  await using leased = await underLease(ctx, stores.leases)
  report({ event: 'Exporting' })
  const images: ExportedImage[] = []
  for (const { name, platforms = [] } of sources) {
    const image = await stores.images.get(leased.ctx, name)
    const wanted = platforms.length > 0 ? orderedPlatforms(platforms) : undefined
    images.push({ image, platforms: wanted })
  }
  yield* exportArchive(leased.ctx, stores.content, images, options, (progress, total) => {
    report({ event: 'Exporting', progress, total })
  })
  report({ event: 'Completed export' })
}
