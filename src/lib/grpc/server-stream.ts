import type { HeaderBlock } from '#lib/http2/header-block.ts'
import type { Http2Stream } from '#lib/http2/stream.ts'
import type { Dispatcher } from '#lib/rpc/dispatch.ts'
import type { Peer } from '#lib/rpc/rpc.ts'
import { ServerCall } from '#lib/rpc/server-call.ts'

import { answer, ok } from './answer.ts'
import type { Router } from './router.ts'
import { ReplyingCall } from './server-replying.ts'
import { StreamingCall } from './server-streaming.ts'
import { UnaryCall } from './server-unary.ts'

/** What the streams of one connection share. */
export interface StreamHost {
  readonly dispatcher: Dispatcher
  readonly router: Router
  readonly peer: Peer | undefined
  readonly maxReceiveBytes: number
  readonly maxSendBytes: number
  /** Calls in flight, for the stop of the server. */
  readonly calls: Set<ServerCall>
}

const receivers = {
  unary: UnaryCall,
  server_streaming: ReplyingCall,
  client_streaming: StreamingCall,
  bidi_streaming: StreamingCall,
} as const

/** Serves one HTTP/2 stream: refuses it, or runs the call and answers it. */
export function serveStream(host: StreamHost, stream: Http2Stream, headers: HeaderBlock): void {
  const { endpoint, refused, timeoutMs, metadata } = host.router.find(headers)
  if (!endpoint || refused) {
    answer(stream, refused?.status ?? ok, refused?.http)
    return
  }
  const { service, method } = endpoint
  const { peer } = host
  const call = new ServerCall({ transport: 'grpc', service, method, peer, timeoutMs, metadata })
  host.calls.add(call)
  stream.receiver = new receivers[method.methodKind](host, stream, endpoint, call)
}
