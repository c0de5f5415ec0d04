import type { Context } from '#core/context.ts'
import type { Labels } from '#core/labels/labels.ts'

import type { Store } from './content.ts'

/** Gives a blob labels, as far as they are not as `wanted` has them. @throws `not_found`. */
export async function setLabels(
  ctx: Context,
  content: Pick<Store, 'info' | 'update'>,
  digest: string,
  wanted: (known: Labels) => Labels,
): Promise<void> {
  const { labels: known } = await content.info(ctx, digest)
  const labels = Object.fromEntries(
    Object.entries(wanted(known)).filter(([key, value]) => known[key] !== value),
  )
  const paths = Object.keys(labels).map((key) => `labels.${key}`)
  if (paths.length > 0) await content.update(ctx, { digest, labels }, paths)
}
