import { CodedError } from '#lib/errors/errors.ts'
import type { Http2ClientConnection } from '#lib/http2/client.ts'
import type { HeaderBlock, HeaderList } from '#lib/http2/header-block.ts'
import type { Http2Stream, StreamEnd, StreamReceiver } from '#lib/http2/stream.ts'
import type { CallOptions } from '#lib/rpc/rpc.ts'
import { type Status, fromStatus } from '#lib/rpc/status.ts'

import { formatTimeout, statusIn, statusOfHttp, statusOfReset } from './headers.ts'

/** What the calls of one connection share. */
export interface ClientHost {
  readonly connection: Http2ClientConnection
  readonly requests: RequestHeaders
  readonly maxReceiveBytes: number
  readonly maxSendBytes: number
}

const none: HeaderList = []

/** The headers of the requests of one connection; those of a method are made once. */
export class RequestHeaders {
  readonly #scheme: string
  readonly #authority: string
  readonly #metadata: Readonly<Record<string, string>>
  /** By path, without metadata and with that of the connection. */
  readonly #bare = new Map<string, HeaderList>()
  readonly #full = new Map<string, HeaderList>()

  constructor(
    scheme: 'http' | 'https',
    authority: string,
    metadata: Readonly<Record<string, string>>,
  ) {
    this.#scheme = scheme
    this.#authority = authority
    this.#metadata = metadata
  }

  /** What every call of a method sends alike, and what this call adds. */
  of(
    path: string,
    { metadata, timeoutMs }: CallOptions,
  ): { repeated: HeaderList; once: HeaderList } {
    const timeout = timeoutMs === undefined ? none : ['grpc-timeout', formatTimeout(timeoutMs)]
    if (!metadata) return { repeated: this.#fullOf(path), once: timeout }
    const merged = toFields({ ...this.#metadata, ...metadata })
    return { repeated: this.#bareOf(path), once: [...merged, ...timeout] }
  }

  #fullOf(path: string): HeaderList {
    let fields = this.#full.get(path)
    if (!fields) {
      fields = [...this.#bareOf(path), ...toFields(this.#metadata)]
      this.#full.set(path, fields)
    }
    return fields
  }

  #bareOf(path: string): HeaderList {
    let fields = this.#bare.get(path)
    if (!fields) {
      const target = [':scheme', this.#scheme, ':path', path, ':authority', this.#authority]
      const kind = ['content-type', 'application/grpc', 'te', 'trailers']
      fields = [':method', 'POST', ...target, ...kind, 'user-agent', 'grpc-wharf']
      this.#bare.set(path, fields)
    }
    return fields
  }
}

const toFields = (metadata: Readonly<Record<string, string>>): string[] =>
  Object.entries(metadata).flatMap(([name, value]) => [name.toLowerCase(), value])

/**
 * Opens the HTTP/2 stream of a call.
 * @throws `unavailable` if the connection takes no more calls.
 */
export function openStream(
  host: ClientHost,
  path: string,
  options: CallOptions,
  receiver: StreamReceiver,
): Http2Stream {
  if (!host.connection.open) throw lost()
  const { repeated, once } = host.requests.of(path, options)
  return host.connection.request(repeated, once, receiver)
}

/** What a call rejects with when its connection has died under it. */
export const lost = (cause?: unknown): CodedError =>
  new CodedError('unavailable', 'connection closed before the call ended', { cause })

/** What has come of a response so far. */
export interface Response {
  headers?: HeaderBlock
  trailers?: HeaderBlock
}

/** How the call ended, once its stream has; undefined is success. */
export function outcome(
  response: Response,
  end: StreamEnd,
  errorCode: number,
): CodedError | undefined {
  const status = finalStatus(response) ?? endStatus(end, errorCode)
  if (status === undefined) return lost()
  return status.code === 0 ? undefined : fromStatus(status)
}

/** The status the server gave, in trailers or in headers that were all there is. */
export function finalStatus({ headers, trailers }: Response): Status | undefined {
  const status = (trailers && statusIn(trailers)) ?? (headers && statusIn(headers))
  if (status) return status
  const http = headers?.get(':status') ?? '200'
  return http === '200' ? undefined : statusOfHttp(Number(http))
}

function endStatus(end: StreamEnd, errorCode: number): Status | undefined {
  if (end === 'connection lost') return undefined
  if (end !== 'finished' && errorCode !== 0) return statusOfReset(errorCode)
  return { code: 13, message: 'server closed the stream without sending trailers' }
}
