import type { Context, Logger } from '#core/context.ts'
import type { Call } from '#lib/rpc/rpc.ts'

/*
 * How a context travels: as metadata of the call. Source: upstream `pkg/namespaces`, `core/leases`.
 */

/** By transport: ttrpc has a key of its own. */
const namespaceKeys = { grpc: 'containerd-namespace', ttrpc: 'containerd-namespace-ttrpc' } as const
const leaseKey = 'containerd-lease'

/**
 * The context a call brings: its signal, its namespace, its lease. The signal is made when somebody
 * asks for it, since most calls end without one; a copy of the context asks.
 */
export function contextOf(call: Call, log: Logger): Context & { readonly call: Call } {
  const namespace = call.metadata.get(namespaceKeys[call.transport])
  const lease = call.metadata.get(leaseKey)
  const ctx = {
    get signal() {
      return call.signal
    },
    log,
    call,
  }
  if (namespace && lease) return Object.assign(ctx, { namespace, lease })
  if (namespace) return Object.assign(ctx, { namespace })
  return lease ? Object.assign(ctx, { lease }) : ctx
}

/** The metadata that makes the other side see `ctx`'s namespace and lease, and what it is part of. */
export function metadataOf(
  ctx: Pick<Context, 'namespace' | 'lease' | 'trace'>,
  transport: Call['transport'] = 'grpc',
): Record<string, string> {
  return {
    ...(ctx.namespace ? { [namespaceKeys[transport]]: ctx.namespace } : {}),
    ...(ctx.lease ? { [leaseKey]: ctx.lease } : {}),
    ...ctx.trace?.headers,
  }
}
