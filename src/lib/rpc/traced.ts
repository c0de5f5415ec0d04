import { type Span, type Trace, endWith } from '#lib/trace/trace.ts'

import type { Interceptor } from './rpc.ts'

/**
 * An interceptor that makes a span of each call, inside the caller's. `enter` gives the context of
 * what methods do.
 */
export const traced =
  <C>(trace: Trace, enter: (ctx: C, span: Span) => C): Interceptor<C> =>
  (call, ctx, next) => {
    const service = call.service.typeName
    const span = trace.begin(`${service}/${call.method.name}`, {
      kind: 'server',
      caller: call.metadata,
      attributes: {
        'rpc.system': call.transport,
        'rpc.service': service,
        'rpc.method': call.method.name,
      },
    })
    return endWith(span, () => next(enter(ctx, span)))
  }
