import type { DescMethod, DescService } from '@bufbuild/protobuf'

import { once } from 'node:events'
import { type Socket, connect as connectSocket } from 'node:net'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'

import { CodedError, describe } from '#lib/errors/errors.ts'
import { type Http2ClientConnection, openHttp2 } from '#lib/http2/client.ts'
import { type Caller, createClient } from '#lib/rpc/client.ts'
import type { CallOptions, Connection, ServiceClient } from '#lib/rpc/rpc.ts'

import { GrpcStream } from './client-stream.ts'
import { callUnary } from './client-unary.ts'
import { type ClientHost, RequestHeaders } from './client-host.ts'
import { defaultMaxBytes } from './messages.ts'

const defaultConnectMs = 10_000

/** How a client connects. Message limits are 16 MiB unless given. */
export interface GrpcClientOptions {
  /** Aborts connecting; a connection that stands is closed by disposal. */
  readonly signal?: AbortSignal | undefined
  /** How long connecting may take, ms; 10 s by default. */
  readonly connectMs?: number
  /** TLS for `host:port` targets; plain TCP without it. */
  readonly tls?: ConnectionOptions
  readonly maxReceiveBytes?: number
  readonly maxSendBytes?: number
  /** Sent with every call, e.g. the namespace. A call's own metadata goes over it. */
  readonly metadata?: Readonly<Record<string, string>>
}

/** A connection that also takes what is encoded already. */
export interface RawConnection extends Connection {
  /** Calls the method at `path`, `/package.Service/Method`. @throws the status of the call. */
  raw(path: string, request: Uint8Array, options?: CallOptions): Promise<Uint8Array>
}

/**
 * Connects to `unix:///path`, `unix:path`, an absolute path, or `host:port`.
 *
 * @throws `unavailable` if nobody answers there, or the reason of the signal.
 */
export async function connectGrpc(
  target: string,
  options: GrpcClientOptions = {},
): Promise<RawConnection> {
  const socket = open(target, options)
  const timeout = AbortSignal.timeout(options.connectMs ?? defaultConnectMs)
  const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout
  try {
    await once(socket, options.tls ? 'secureConnect' : 'connect', { signal })
  } catch (err) {
    socket.destroy()
    options.signal?.throwIfAborted()
    const why = timeout.aborted ? 'timed out' : describe(err)
    throw new CodedError('unavailable', `connection error: dial ${target}: ${why}`, { cause: err })
  }
  return new GrpcConnection(socket, authorityOf(target), options)
}

class GrpcConnection implements RawConnection, Caller {
  readonly #connection: Http2ClientConnection
  readonly #host: ClientHost
  readonly #closed = new AbortController()

  constructor(socket: Socket, authority: string, options: GrpcClientOptions) {
    this.#connection = openHttp2(socket, {
      onClose: (err) => {
        const message = `connection closed${err ? `: ${err.message}` : ''}`
        this.#closed.abort(new CodedError('unavailable', message, { cause: err }))
      },
    })
    const scheme = options.tls ? 'https' : 'http'
    this.#host = {
      connection: this.#connection,
      requests: new RequestHeaders(scheme, authority, options.metadata ?? {}),
      maxReceiveBytes: options.maxReceiveBytes ?? defaultMaxBytes,
      maxSendBytes: options.maxSendBytes ?? defaultMaxBytes,
    }
  }

  get closed(): AbortSignal {
    return this.#closed.signal
  }

  client<S extends DescService>(service: S): ServiceClient<S> {
    return createClient(service, this)
  }

  async raw(path: string, request: Uint8Array, options: CallOptions = {}): Promise<Uint8Array> {
    return await callUnary(this.#host, path, request, options)
  }

  unary(
    service: DescService,
    method: DescMethod,
    request: Uint8Array,
    options: CallOptions,
  ): Promise<Uint8Array> {
    return callUnary(this.#host, pathOf(service, method), request, options)
  }

  stream(
    service: DescService,
    method: DescMethod,
    requests: Uint8Array | AsyncIterable<Uint8Array>,
    options: CallOptions,
  ): AsyncIterableIterator<Uint8Array> {
    return new GrpcStream(this.#host, pathOf(service, method), requests, options)
  }

  /** Ends the connection now; calls in flight fail with `unavailable`. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.closed.aborted) return
    const closed = once(this.closed, 'abort')
    this.#connection.destroy()
    await closed
  }
}

const pathOf = (service: DescService, method: DescMethod): string =>
  `/${service.typeName}/${method.name}`

function unixPath(target: string): string | undefined {
  if (target.startsWith('unix://')) return target.slice('unix://'.length)
  if (target.startsWith('unix:')) return target.slice('unix:'.length)
  return target.startsWith('/') ? target : undefined
}

const authorityOf = (target: string): string =>
  unixPath(target) === undefined ? target : 'localhost'

function open(target: string, options: GrpcClientOptions): Socket {
  const path = unixPath(target)
  if (path !== undefined) return connectSocket({ path })
  const { hostname, port } = new URL(`tcp://${target}`)
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  const address = { host, port: Number(port) }
  if (!options.tls) return connectSocket({ ...address, noDelay: true })
  return connectTls({ servername: host, ...options.tls, ...address, ALPNProtocols: ['h2'] })
}
