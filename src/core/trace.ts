import { type Attributes, endWith, type Span } from '#lib/trace/trace.ts'

import type { Context } from './context.ts'

/** `ctx` inside the span of a call: what it logs carries the id of the trace, for logs that show it. */
export const insideCall = <C extends Context>(ctx: C, call: Span): C => ({
  ...ctx,
  trace: call,
  log: ctx.log.with({ trace_id: call.traceId }),
})

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
