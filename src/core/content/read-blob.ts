import type { Context } from '#core/context.ts'
import { dataLoss, resourceExhausted } from '#lib/errors/errors.ts'

import type { Store } from './content.ts'

/**
 * The whole of a small blob: a manifest, a config. `maxBytes` bounds what a hostile image can make
 * this allocate.
 *
 * @throws `not_found`; `resource_exhausted` when it is larger; `data_loss` when the file is cut off.
 */
export async function readBlob(
  ctx: Context,
  store: Pick<Store, 'reader'>,
  digest: string,
  maxBytes: number,
): Promise<Uint8Array> {
  await using reader = await store.reader(ctx, digest)
  if (reader.size > maxBytes) {
    throw resourceExhausted(
      `content ${digest} has ${reader.size} bytes, more than the ${maxBytes} it may have`,
    )
  }
  const bytes = await reader.read(0, reader.size)
  if (bytes.length === reader.size) return bytes
  throw dataLoss(`content ${digest} has ${bytes.length} bytes of ${reader.size}`)
}
