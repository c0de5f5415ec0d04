import { once } from 'node:events'
import { type Server, type Socket, createServer } from 'node:net'
import { type TlsOptions, createServer as createTlsServer } from 'node:tls'

import { type Http2ServerConnection, acceptHttp2 } from '#lib/http2/server.ts'
import { type DispatchOptions, type Dispatcher, createDispatcher } from '#lib/rpc/dispatch.ts'
import type { Peer } from '#lib/rpc/rpc.ts'
import type { ServerCall } from '#lib/rpc/server-call.ts'
import { canceledCall } from '#lib/rpc/status.ts'
import { within } from '#lib/rpc/within.ts'

import { defaultMaxBytes } from './messages.ts'
import { Router } from './router.ts'
import { type StreamHost, serveStream } from './server-stream.ts'

const defaultStopMs = 10_000
/** How long calls that were told to stop may take before their connection is cut, ms. */
const afterAbortMs = 1_000

/** Where to listen: a unix socket, or TCP, with TLS if `tls` is given. Port 0 picks a free one. */
export type GrpcAddress =
  | { readonly path: string }
  | { readonly host?: string; readonly port: number; readonly tls?: TlsOptions }

/** What a gRPC server is made from. Message limits are 16 MiB unless given. */
export interface GrpcServerOptions<C> extends DispatchOptions<C> {
  /** Who is behind an accepted socket (SO_PEERCRED); what it gives becomes `Call.peer`. */
  readonly peerOf?: (socket: Socket) => Peer | undefined
  /** Hears of connections that could not be accepted or broke down; the others are not affected. */
  readonly onConnectionError?: (err: unknown) => void
  /** How long disposal waits for calls in flight before it aborts them, ms; 10 s by default. */
  readonly stopMs?: number
}

/** A listening server. Disposal stops it gracefully: see `GrpcServerOptions.stopMs`. */
export interface GrpcServer extends AsyncDisposable {
  /** The TCP port, or undefined on a unix socket. */
  readonly port: number | undefined
  /** Calls in flight, now. */
  readonly activeCalls: number
}

/**
 * Serves gRPC over HTTP/2 at `address`.
 *
 * The caller removes a stale unix socket first and sets owner and mode afterwards (`#lib/grpc/unix.ts`).
 * @throws the system's error (EADDRINUSE, EACCES, …) if it cannot listen.
 */
export async function listenGrpc<C>(
  address: GrpcAddress,
  options: GrpcServerOptions<C>,
): Promise<GrpcServer> {
  const listener =
    'path' in address || !address.tls
      ? createServer({ noDelay: true })
      : createTlsServer({ ...address.tls, noDelay: true, ALPNProtocols: ['h2'] })
  const server = new ListeningServer(listener, createDispatcher(options), options)
  listener.listen('path' in address ? { path: address.path } : address)
  await once(listener, 'listening')
  // From now on it is an `accept` that failed, EMFILE for one; without a listener it would be fatal.
  listener.on('error', (err) => options.onConnectionError?.(err))
  return server
}

type TransportOptions = Omit<GrpcServerOptions<never>, keyof DispatchOptions<never>> &
  Pick<GrpcServerOptions<never>, 'maxReceiveBytes' | 'maxSendBytes'>

class ListeningServer implements GrpcServer {
  readonly #listener: Server
  readonly #options: TransportOptions
  readonly #dispatcher: Dispatcher
  readonly #router: Router
  /** Each with the promise of its end. */
  readonly #connections = new Map<Http2ServerConnection, Promise<void>>()
  readonly #calls = new Set<ServerCall>()
  #stopped: Promise<void> | undefined

  constructor(listener: Server, dispatcher: Dispatcher, options: TransportOptions) {
    this.#listener = listener
    this.#options = options
    this.#dispatcher = dispatcher
    this.#router = new Router(dispatcher)
    const secure = 'addContext' in listener
    listener.on(secure ? 'secureConnection' : 'connection', (socket: Socket) =>
      this.#accept(socket),
    )
  }

  get port(): number | undefined {
    const address = this.#listener.address()
    return typeof address === 'object' ? address?.port : undefined
  }

  get activeCalls(): number {
    return this.#calls.size
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped ??= this.#stop()
    await this.#stopped
  }

  #accept(socket: Socket): void {
    const host: StreamHost = {
      dispatcher: this.#dispatcher,
      router: this.#router,
      peer: this.#options.peerOf?.(socket),
      maxReceiveBytes: this.#options.maxReceiveBytes ?? defaultMaxBytes,
      maxSendBytes: this.#options.maxSendBytes ?? defaultMaxBytes,
      calls: this.#calls,
    }
    const { promise, resolve } = Promise.withResolvers<void>()
    const connection = acceptHttp2(socket, {
      onStream: (stream, headers) => serveStream(host, stream, headers),
      onClose: (err) => {
        this.#connections.delete(connection)
        if (err) this.#options.onConnectionError?.(err)
        resolve()
      },
    })
    this.#connections.set(connection, promise)
  }

  async #stop(): Promise<void> {
    const closed = once(this.#listener, 'close')
    this.#listener.close()
    const connections = [...this.#connections.keys()]
    const ended = Promise.all(this.#connections.values())
    for (const connection of connections) connection.shutdown()
    if (!(await within(ended, this.#options.stopMs ?? defaultStopMs))) {
      for (const call of this.#calls) call.abort(canceledCall(new Error('server is stopping')))
      await within(ended, afterAbortMs)
      for (const connection of connections) connection.destroy()
      await ended
    }
    await closed
  }
}
