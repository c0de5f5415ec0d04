import type { Store } from '#core/content/content.ts'
import { openWriter } from '#core/content/write-blob.ts'
import { type Context, forCleanup } from '#core/context.ts'
import { describe, hasCode } from '#lib/errors/errors.ts'
import { saysFull } from '#lib/fs/full-disk.ts'

/**
 * What becomes of an upload that was cut off. It is held by the lease of its pull, which goes, and then the
 * collector would take it: so it is opened once more without a lease, which holds it for a day, for the next
 * pull to go on with. On a full disk it is given up instead, as it may be what fills it.
 */
export async function keepUpload(
  ctx: Context,
  content: Pick<Store, 'abort' | 'status' | 'writer'>,
  ref: string,
  reason: unknown,
): Promise<void> {
  const { lease: _lease, ...own } = forCleanup(ctx)
  try {
    const { offset } = await content.status(own, ref)
    if (offset === 0 || saysFull(reason)) {
      await content.abort(own, ref)
      return
    }
    await using _closed = await openWriter(own, content, { ref })
  } catch (err) {
    // Whoever hears of the failure of the pull need not hear of this.
    if (hasCode(err, 'not_found')) return
    ctx.log.debug('cannot keep an upload for the next pull', { ref, error: describe(err) })
  }
}
