import { once } from 'node:events'
import { type Server, type Socket, createServer } from 'node:net'

import { type DispatchOptions, type Dispatcher, createDispatcher } from '#lib/rpc/dispatch.ts'
import type { Peer } from '#lib/rpc/rpc.ts'
import { canceledCall } from '#lib/rpc/status.ts'
import { within } from '#lib/rpc/within.ts'

import { maxDataBytes } from './frame.ts'
import { type ConnectionHost, ServerConnection } from './server-connection.ts'

const defaultStopMs = 10_000
/** How long calls that were told to stop may take before their connection is cut, ms. */
const afterAbortMs = 1_000

/** What a ttrpc server is made from. Message limits are 4 MiB and cannot be more. */
export interface TtrpcServerOptions<C> extends DispatchOptions<C> {
  /** Who is behind an accepted socket (SO_PEERCRED); what it gives becomes `Call.peer`. */
  readonly peerOf?: (socket: Socket) => Peer | undefined
  /** Throws to refuse a connection, which is then closed without a word. */
  readonly authorize?: (peer: Peer | undefined) => void
  /** Hears of connections that could not be accepted or broke down; the others are not affected. */
  readonly onConnectionError?: (err: unknown) => void
  /** How long disposal waits for calls in flight before it aborts them, ms; 10 s by default. */
  readonly stopMs?: number
}

/** A server of ttrpc connections. Disposal stops it gracefully: see `TtrpcServerOptions.stopMs`. */
export interface TtrpcServer extends AsyncDisposable {
  /** Calls in flight, now. */
  readonly activeCalls: number
  /** Open connections, now. */
  readonly connections: number
}

/**
 * Serves ttrpc on a unix socket at `path`, or on the listening socket behind a file descriptor.
 *
 * The caller removes a stale socket first and sets owner and mode.
 * @throws the system's error (EADDRINUSE, EACCES, …) if it cannot listen.
 */
export async function listenTtrpc<C>(
  address: { readonly path: string } | { readonly fd: number },
  options: TtrpcServerOptions<C>,
): Promise<TtrpcServer> {
  const listener = createServer()
  const server = new SocketServer(createDispatcher(options), options, listener)
  listener.listen(address)
  await once(listener, 'listening')
  // From now on it is an `accept` that failed, EMFILE for one; without a listener it would be fatal.
  listener.on('error', (err) => options.onConnectionError?.(err))
  return server
}

/** Serves ttrpc on one connected socket. */
export function serveTtrpcOn<C>(socket: Socket, options: TtrpcServerOptions<C>): TtrpcServer {
  const server = new SocketServer(createDispatcher(options), options)
  server.accept(socket)
  return server
}

type TransportOptions = Omit<TtrpcServerOptions<never>, keyof DispatchOptions<never>> &
  Pick<TtrpcServerOptions<never>, 'maxReceiveBytes' | 'maxSendBytes'>

class SocketServer implements TtrpcServer {
  readonly #options: TransportOptions
  readonly #host: ConnectionHost
  readonly #listener: Server | undefined
  readonly #connections = new Map<Socket, ServerConnection>()
  #stopped: Promise<void> | undefined

  constructor(dispatcher: Dispatcher, options: TransportOptions, listener?: Server) {
    this.#options = options
    this.#host = {
      dispatcher,
      maxReceiveBytes: Math.min(options.maxReceiveBytes ?? maxDataBytes, maxDataBytes),
      maxSendBytes: Math.min(options.maxSendBytes ?? maxDataBytes, maxDataBytes),
    }
    this.#listener = listener
    listener?.on('connection', (socket: Socket) => this.accept(socket))
  }

  get activeCalls(): number {
    return this.#connections.values().reduce((sum, { activeCalls }) => sum + activeCalls, 0)
  }

  get connections(): number {
    return this.#connections.size
  }

  accept(socket: Socket): void {
    socket.on('error', () => socket.destroy())
    try {
      const peer = this.#options.peerOf?.(socket)
      this.#options.authorize?.(peer)
      this.#connections.set(socket, new ServerConnection(this.#host, socket, peer))
      socket.on('close', () => this.#connections.delete(socket))
    } catch (err) {
      // Refused: the peer sees the end of the connection, as upstream does it.
      this.#options.onConnectionError?.(err)
      socket.destroy()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped ??= this.#stop()
    await this.#stopped
  }

  async #stop(): Promise<void> {
    const closed = this.#listener?.listening ? once(this.#listener, 'close') : undefined
    this.#listener?.close()
    const open = [...this.#connections]
    const ended = Promise.all(
      open.map(async ([socket, connection]) => await end(socket, connection)),
    )
    if (!(await within(ended, this.#options.stopMs ?? defaultStopMs))) {
      const reason = canceledCall(new Error('server is stopping'))
      for (const [, connection] of open) connection.abort(reason)
      await within(ended, afterAbortMs)
    }
    for (const [socket] of open) socket.destroy()
    await closed
  }
}

/** Waits for the calls of a connection, then closes it when what was written has left. */
async function end(socket: Socket, connection: ServerConnection): Promise<void> {
  await connection.idle()
  if (socket.destroyed) return
  const { promise: closed, resolve } = Promise.withResolvers<void>()
  // Whatever becomes of what was written: a client may go without having read it.
  socket.once('close', () => resolve())
  socket.destroySoon()
  await closed
}
