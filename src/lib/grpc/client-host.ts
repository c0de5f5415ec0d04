import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type IncomingHttpHeaders,
  type IncomingHttpStatusHeader,
  type OutgoingHttpHeaders,
} from 'node:http2'

import { CodedError } from '#lib/errors/errors.ts'
import type { CallOptions } from '#lib/rpc/rpc.ts'
import { type Status, fromStatus } from '#lib/rpc/status.ts'

import { formatTimeout, statusIn, statusOfHttp, statusOfReset } from './headers.ts'

/** What the calls of one connection share. */
export interface ClientHost {
  readonly session: ClientHttp2Session
  readonly authority: string
  readonly scheme: 'http' | 'https'
  readonly metadata: Readonly<Record<string, string>>
  readonly maxReceiveBytes: number
  readonly maxSendBytes: number
}

/**
 * Opens the HTTP/2 stream of a call.
 * @throws `unavailable` if the connection takes no more calls.
 */
export function openStream(
  host: ClientHost,
  path: string,
  options: CallOptions,
): ClientHttp2Stream {
  const headers: OutgoingHttpHeaders = {
    ':method': 'POST',
    ':scheme': host.scheme,
    ':authority': host.authority,
    ':path': path,
    'content-type': 'application/grpc',
    te: 'trailers',
    'user-agent': 'grpc-wharf',
    ...host.metadata,
    ...options.metadata,
  }
  if (options.timeoutMs !== undefined) headers['grpc-timeout'] = formatTimeout(options.timeoutMs)
  try {
    return host.session.request(headers, { endStream: false })
  } catch (err) {
    throw lost(err)
  }
}

/** What a call rejects with when its connection has died under it. */
export const lost = (cause?: unknown): CodedError =>
  new CodedError('unavailable', 'connection closed before the call ended', { cause })

/** What has come of a response so far. */
export interface Response {
  headers?: IncomingHttpHeaders & IncomingHttpStatusHeader
  trailers?: IncomingHttpHeaders
}

/** How the call ended, once its stream has; undefined is success. */
export function outcome(
  host: ClientHost,
  stream: ClientHttp2Stream,
  response: Response,
): CodedError | undefined {
  const status = finalStatus(response) ?? resetStatus(host, stream)
  if (status === undefined) return lost()
  return status.code === 0 ? undefined : fromStatus(status)
}

/** The status the server gave, in trailers or in headers that were all there is. */
export function finalStatus({ headers, trailers }: Response): Status | undefined {
  const status = (trailers && statusIn(trailers)) ?? (headers && statusIn(headers))
  if (status) return status
  const http = headers?.[':status']
  return http !== undefined && http !== 200 ? statusOfHttp(http) : undefined
}

function resetStatus(host: ClientHost, stream: ClientHttp2Stream): Status | undefined {
  if (host.session.destroyed) return undefined
  if (stream.rstCode !== 0) return statusOfReset(stream.rstCode)
  return { code: 13, message: 'server closed the stream without sending trailers' }
}
