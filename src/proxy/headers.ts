import type { Context, Logger } from '#core/context.ts'
import type { Call } from '#lib/rpc/rpc.ts'

/*
 * How a context travels: as metadata of the call. Source: upstream `pkg/namespaces`, `core/leases`.
 */

/** By transport: ttrpc has a key of its own. */
const namespaceKeys = { grpc: 'containerd-namespace', ttrpc: 'containerd-namespace-ttrpc' } as const
const leaseKey = 'containerd-lease'

/** The context a call brings: its signal, its namespace, its lease. */
export function contextOf(call: Call, log: Logger): Context & { readonly call: Call } {
  const namespace = call.metadata.get(namespaceKeys[call.transport])
  const lease = call.metadata.get(leaseKey)
  return {
    signal: call.signal,
    log,
    call,
    ...(namespace ? { namespace } : {}),
    ...(lease ? { lease } : {}),
  }
}

/** The metadata that makes the other side see `ctx`'s namespace and lease. */
export function metadataOf(
  ctx: Pick<Context, 'namespace' | 'lease'>,
  transport: Call['transport'] = 'grpc',
): Record<string, string> {
  return {
    ...(ctx.namespace ? { [namespaceKeys[transport]]: ctx.namespace } : {}),
    ...(ctx.lease ? { [leaseKey]: ctx.lease } : {}),
  }
}
