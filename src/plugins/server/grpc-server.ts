import type { Logger } from '#core/context.ts'
import { insideCall } from '#core/trace.ts'
import { unavailable } from '#lib/errors/errors.ts'
import type { GrpcServer, GrpcServerOptions } from '#lib/grpc/server.ts'
import type { Interceptor, RegisteredService } from '#lib/rpc/rpc.ts'
import { traced } from '#lib/rpc/traced.ts'
import type { Trace } from '#lib/trace/trace.ts'
import { type Daemon, each } from '#plugin/plugin.ts'
import {
  ApiPlugin,
  type ApiService,
  AuditPlugin,
  type CallObserver,
  MetricsPlugin,
  type RpcContext,
} from '#plugins/types.ts'
import { contextOf } from '#proxy/headers.ts'

import { complete, whyAbsent } from './not-built.ts'

/** What a gRPC server needs of other plugins: what it serves, and who looks on. */
export const grpcRequires = {
  apis: each(ApiPlugin),
  metrics: each(MetricsPlugin),
  audit: each(AuditPlugin),
} as const

/** Those plugins, when they run. */
export interface GrpcParts {
  readonly apis: ReadonlyMap<string, ApiService>
  readonly metrics: ReadonlyMap<string, CallObserver>
  readonly audit: ReadonlyMap<string, CallObserver>
}

/**
 * Looks whether what is meant to record calls does.
 *
 * @throws what is wrong with it: then nobody is served, as nobody would be recorded.
 */
export function requireAudit(daemon: Daemon): void {
  const audit = daemon.plugins().find(({ plugin }) => plugin.type === AuditPlugin)
  if (audit?.state !== 'failed') return
  throw new Error('calls are to be recorded, and cannot be', { cause: audit.error })
}

/** What one gRPC server has for itself. */
export interface GrpcSettings {
  readonly log: Logger
  /** Makes a span of each call. */
  readonly trace?: Trace | undefined
  /** In bytes; 0 for 16 MiB. */
  readonly maxRecvMessageSize: number
  readonly maxSendMessageSize: number
  /** Decides which calls reach their methods; inside those that observe. */
  readonly guard?: Interceptor<RpcContext>
}

/** Begins to listen somewhere. */
export type Listen = (options: GrpcServerOptions<RpcContext>) => Promise<GrpcServer>

/** How long a stop waits for the calls in flight before it aborts them, in ms. */
const stopMs = 5000

/**
 * Serves everything the daemon has with `listen`, which is given the options.
 *
 * Disposal first ends the calls that would go on for ever, then waits for the others.
 */
export async function serveGrpc(
  parts: GrpcParts,
  settings: GrpcSettings,
  listen: Listen,
): Promise<GrpcServer> {
  const stop = new AbortController()
  const server = await listen(grpcOptions(parts, settings, stop.signal))
  return {
    get port() {
      return server.port
    },
    get activeCalls() {
      return server.activeCalls
    },
    async [Symbol.asyncDispose]() {
      stop.abort(unavailable('the daemon is stopping'))
      await server[Symbol.asyncDispose]()
    },
  }
}

function grpcOptions(
  parts: GrpcParts,
  settings: GrpcSettings,
  stopping: AbortSignal,
): GrpcServerOptions<RpcContext> {
  const { log, trace, maxRecvMessageSize, maxSendMessageSize, guard } = settings
  const services = complete([...parts.apis.values()].flatMap((api) => api.grpc ?? []))
  return {
    services,
    whyAbsent,
    context: (call) => endingWith(stopping, contextOf(call, log)),
    interceptors: [
      ...(trace ? [traced<RpcContext>(trace, insideCall)] : []),
      ...observing(parts, services),
      ...(guard ? [guard] : []),
    ],
    onUnknownError: (err, call) => {
      log.debug('call failed', { method: call.method.name, error: err })
    },
    onConnectionError: (err) => log.debug('connection failed', { error: err }),
    stopMs,
    ...(maxRecvMessageSize > 0 ? { maxReceiveBytes: maxRecvMessageSize } : {}),
    ...(maxSendMessageSize > 0 ? { maxSendBytes: maxSendMessageSize } : {}),
  }
}

/** Methods whose calls have no end of their own. */
const endless = new Set(['GetContainerEvents', 'Stream', 'Subscribe', 'Wait', 'Watch'])

/** `ctx`, whose call a stop ends at once if it might never end by itself. */
function endingWith(stopping: AbortSignal, ctx: RpcContext): RpcContext {
  if (!endless.has(ctx.call.method.name)) return ctx
  return { ...ctx, signal: AbortSignal.any([ctx.signal, stopping]) }
}

function observing(
  { metrics, audit }: GrpcParts,
  services: readonly RegisteredService<RpcContext>[],
): readonly Interceptor<RpcContext>[] {
  const observers = [...metrics.values(), ...audit.values()]
  for (const observer of observers) observer.serves?.(services)
  return observers.map(({ interceptor }) => interceptor)
}
