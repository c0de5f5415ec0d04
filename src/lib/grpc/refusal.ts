import type { HeaderBlock } from '#lib/http2/header-block.ts'
import type { Dispatcher, Endpoint } from '#lib/rpc/dispatch.ts'
import { type Status, toStatusCode } from '#lib/rpc/status.ts'

import { parseTimeout } from './headers.ts'

/** Why a stream is not served: its HTTP status and its gRPC status. */
export interface Refusal {
  readonly http: number
  readonly status: Status
}

/** Looks at the headers of a stream before anything is read; grpc-go's answers and wording. */
export function refusal(
  dispatcher: Dispatcher,
  endpoint: Endpoint | undefined,
  headers: HeaderBlock,
): Refusal | undefined {
  const verb = headers.get(':method') ?? ''
  const type = headers.get('content-type') ?? ''
  if (verb !== 'POST') {
    return refuse(
      405,
      'internal',
      `Received a HEADERS frame with :method "${verb}" which should be POST`,
    )
  }
  if (!isGrpc(type))
    return refuse(415, 'invalid_argument', `invalid gRPC request content-type "${type}"`)
  const timeout = headers.get('grpc-timeout')
  if (timeout !== undefined && parseTimeout(timeout) === undefined) {
    return refuse(400, 'internal', `malformed grpc-timeout: "${timeout}"`)
  }
  if (!endpoint)
    return refuse(200, 'unimplemented', unknownMethod(dispatcher, headers.get(':path') ?? ''))
  const encoding = headers.get('grpc-encoding')
  if (encoding !== undefined && encoding !== 'identity') {
    const message = `grpc: Decompressor is not installed for grpc-encoding "${encoding}"`
    return refuse(200, 'unimplemented', message)
  }
  return undefined
}

function refuse(http: number, code: Parameters<typeof toStatusCode>[0], message: string): Refusal {
  return { http, status: { code: toStatusCode(code), message } }
}

/** `application/grpc`, with an encoding (`+proto`) or parameters (`;charset`) if any follow. */
function isGrpc(type: string): boolean {
  const base = 'application/grpc'
  if (!type.startsWith(base)) return false
  const next = type[base.length]
  return next === undefined || next === '+' || next === ';'
}

function unknownMethod(dispatcher: Dispatcher, path: string): string {
  const slash = path.lastIndexOf('/')
  if (!path.startsWith('/') || slash <= 0) return `malformed method name: "${path}"`
  return dispatcher.unknown(path.slice(1, slash), path.slice(slash + 1))
}
