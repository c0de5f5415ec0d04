import { type Trace, endWith } from '#lib/trace/trace.ts'

import type { Interceptor } from './rpc.ts'

/** An interceptor that makes a span of each call, inside the caller's, for what methods do. */
export const traced =
  <C extends object>(trace: Trace): Interceptor<C & { readonly trace?: Trace | undefined }> =>
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
    return endWith(span, () => next({ ...ctx, trace: span }))
  }
