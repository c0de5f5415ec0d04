import type { Context } from '#core/context.ts'
import type { CallOptions } from '#lib/rpc/rpc.ts'

import { metadataOf } from './headers.ts'

/** How to call on behalf of `ctx`. @throws the reason of its signal when it has been aborted. */
export function callOptions(ctx: Context): CallOptions {
  ctx.signal.throwIfAborted()
  return { signal: ctx.signal, metadata: metadataOf(ctx) }
}
