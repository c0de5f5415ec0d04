import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type OutgoingHttpHeaders,
} from 'node:http2'
import { connect as connectSocket } from 'node:net'
import { once } from 'node:events'

import { create, toBinary } from '@bufbuild/protobuf'

import { ReadContentRequestSchema } from '#gen/services/content_pb.ts'
import { SubscribeRequestSchema } from '#gen/services/events_pb.ts'

/*
 * A client of gRPC that may stop in the middle of anything. A message on the wire is
 *
 *     flag 1   length 4   payload
 */

/** An HTTP/2 connection to the socket of a daemon. */
export async function openRaw(path: string): Promise<ClientHttp2Session> {
  const session = connect('http://localhost', {
    createConnection: () => connectSocket({ path }),
    settings: { enablePush: false },
  })
  // Who is cut off is cut off.
  session.on('error', () => {})
  await once(session, 'connect')
  return session
}

/** Opens a stream for a method, as `package.Service/Method`. */
export function openStream(
  session: ClientHttp2Session,
  method: string,
  headers: OutgoingHttpHeaders = {},
): ClientHttp2Stream {
  const stream = session.request({
    ':method': 'POST',
    ':path': `/${method}`,
    'content-type': 'application/grpc',
    te: 'trailers',
    'containerd-namespace': 'abuse',
    ...headers,
  })
  stream.on('error', () => {})
  return stream
}

/** Resets a stream, as a client that no longer wants the answer. */
export const cancel = (stream: ClientHttp2Stream): void => stream.close(constants.NGHTTP2_CANCEL)

/** A message with its head. */
export function frame(payload: Uint8Array): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(payload.length, 1)
  return Buffer.concat([head, payload])
}

export const readRequest = (digest: string): Buffer =>
  frame(toBinary(ReadContentRequestSchema, create(ReadContentRequestSchema, { digest })))

export const subscribeRequest: Buffer = frame(
  toBinary(SubscribeRequestSchema, create(SubscribeRequestSchema)),
)
