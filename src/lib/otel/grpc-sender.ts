import { codeOf, describe, type ErrorCode } from '#lib/errors/errors.ts'
import { connectGrpc, type RawConnection } from '#lib/grpc/client.ts'

import type { OpenSender, Refusal } from './sender.ts'

const method = '/opentelemetry.proto.collector.trace.v1.TraceService/Export'
/** The port of OTLP over gRPC. */
const defaultPort = '4317'

/** Statuses that mean "later". Source: OTLP specification, "OTLP/gRPC: Failures". */
const later: readonly ErrorCode[] = [
  'canceled',
  'deadline_exceeded',
  'resource_exhausted',
  'aborted',
  'out_of_range',
  'unavailable',
  'data_loss',
]

/** One connection, made by the first export, and again by the first one after it was lost. */
export const grpcSender: OpenSender = ({ url, headers, tls }) => {
  let current: RawConnection | undefined
  const connection = async (signal: AbortSignal): Promise<RawConnection> => {
    if (current && !current.closed.aborted) return current
    current = await connectGrpc(`${url.hostname}:${url.port || defaultPort}`, {
      signal,
      metadata: headers,
      ...(url.protocol === 'https:' ? { tls } : {}),
    })
    return current
  }
  return {
    async send(body, signal) {
      const open = await connection(signal)
      try {
        await open.raw(method, body, { signal })
        return undefined
      } catch (err) {
        return refusalOf(err)
      }
    },
    async [Symbol.asyncDispose]() {
      await current?.[Symbol.asyncDispose]()
    },
  }
}

function refusalOf(err: unknown): Refusal {
  const code = codeOf(err)
  if (code === undefined) return { reason: describe(err), isTemporary: false }
  return { reason: `${code}: ${describe(err)}`, isTemporary: later.includes(code) }
}
