import { type Attributes, endWith } from '#lib/trace/trace.ts'

import type { Context } from './context.ts'

/**
 * Runs `work` as a span inside the one that `ctx` is in, which ends when the promise or async
 * iterable that `work` gives does. Without tracing this is a call of `work`.
 */
export function span<C extends Pick<Context, 'trace'>, T>(
  ctx: C,
  name: string,
  work: (ctx: C) => T,
  attributes: Attributes = {},
): T {
  if (!ctx.trace) return work(ctx)
  const trace = ctx.trace.begin(name, { attributes })
  return endWith(trace, () => work({ ...ctx, trace }))
}
