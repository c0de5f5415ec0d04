import type { DescMethod, DescService } from '@bufbuild/protobuf'

import { once } from 'node:events'
import { Socket, connect } from 'node:net'

import { CodedError, describe } from '#lib/errors/errors.ts'
import { type Caller, createClient } from '#lib/rpc/client.ts'
import type { CallOptions, Connection, ServiceClient } from '#lib/rpc/rpc.ts'
import { timedOut, toAbortReason } from '#lib/rpc/status.ts'
import { watch } from '#lib/rpc/watch.ts'

import { type Link, type PendingCall, StreamCall, UnaryCall } from './client-call.ts'
import { type Request, encodeRequest } from './envelope.ts'
import {
  type Frame,
  FrameFlag,
  FrameReader,
  FrameType,
  checkSendable,
  maxDataBytes,
  toFrame,
} from './frame.ts'
import { SocketWriter } from './socket-writer.ts'

const defaultConnectMs = 10_000

/** How a client connects. */
export interface TtrpcClientOptions {
  /** Aborts connecting; a connection that stands is closed by disposal. */
  readonly signal?: AbortSignal | undefined
  /** How long connecting may take, ms; 10 s by default. */
  readonly connectMs?: number
  /** Sent with every call, e.g. the namespace. A call's own metadata goes over it. */
  readonly metadata?: Readonly<Record<string, string>>
}

/**
 * Connects to the unix socket at `target` (`unix:///path` or a path), or speaks on a connected socket.
 *
 * @throws `unavailable` if nobody answers there, or the reason of the signal.
 */
export async function connectTtrpc(
  target: string | Socket,
  options: TtrpcClientOptions = {},
): Promise<Connection> {
  if (target instanceof Socket) return new TtrpcConnection(target, options)
  const socket = connect({ path: target.replace(/^unix:(\/\/)?/, '') })
  const timeout = AbortSignal.timeout(options.connectMs ?? defaultConnectMs)
  const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout
  try {
    await once(socket, 'connect', { signal })
  } catch (err) {
    socket.destroy()
    options.signal?.throwIfAborted()
    const why = timeout.aborted ? 'timed out' : describe(err)
    throw new CodedError('unavailable', `ttrpc: dial ${target}: ${why}`, { cause: err })
  }
  return new TtrpcConnection(socket, options)
}

class TtrpcConnection implements Connection, Caller {
  readonly #socket: Socket
  readonly #writer: SocketWriter
  readonly #metadata: Readonly<Record<string, string>>
  readonly #calls = new Map<number, PendingCall>()
  readonly #closed = new AbortController()
  #nextStream = 1

  constructor(socket: Socket, options: TtrpcClientOptions) {
    this.#socket = socket
    this.#writer = new SocketWriter(socket)
    this.#metadata = options.metadata ?? {}
    const reader = new FrameReader(maxDataBytes)
    let lost: Error | undefined
    socket.on('data', (chunk: Buffer) => {
      for (const frame of reader.push(chunk)) this.#receive(frame)
    })
    socket.on('error', (err: Error) => {
      lost = err
    })
    socket.on('close', () => this.#lost(lost))
    if (socket.destroyed) this.#lost()
  }

  get closed(): AbortSignal {
    return this.#closed.signal
  }

  client<S extends DescService>(service: S): ServiceClient<S> {
    return createClient(service, this)
  }

  async unary(
    service: DescService,
    method: DescMethod,
    request: Uint8Array,
    options: CallOptions,
  ): Promise<Uint8Array> {
    checkStart(options)
    const call = new UnaryCall()
    const link = this.#open(call, 0, this.#head(service, method, request, options))
    using _watch = watch(options, (reason) => call.fail(reason))
    try {
      return await call.reply
    } finally {
      link.forget()
    }
  }

  stream(
    service: DescService,
    method: DescMethod,
    requests: Uint8Array | AsyncIterable<Uint8Array>,
    options: CallOptions,
  ): AsyncIterableIterator<Uint8Array> {
    const call = new StreamCall(this.#socket)
    try {
      checkStart(options)
      const single = requests instanceof Uint8Array
      const flags = single ? FrameFlag.remoteClosed : FrameFlag.remoteOpen
      const head = this.#head(service, method, single ? requests : undefined, options)
      const link = this.#open(call, flags, head)
      call.start(link, single ? undefined : requests, options)
    } catch (err) {
      call.fail(err)
    }
    return call
  }

  /** Ends the connection now; calls in flight fail with `unavailable`. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.closed.aborted) return
    const closed = once(this.closed, 'abort')
    this.#socket.destroy()
    await closed
  }

  #head(
    service: DescService,
    method: DescMethod,
    payload: Uint8Array | undefined,
    { timeoutMs, metadata }: CallOptions,
  ): Uint8Array {
    const pairs = new Map(Object.entries({ ...this.#metadata, ...metadata }))
    const head: Request = {
      service: service.typeName,
      method: method.name,
      payload,
      timeoutMs,
      metadata: pairs,
    }
    return encodeRequest(head)
  }

  /** Gives the call a stream and sends its head. @throws `unavailable`, `resource_exhausted`. */
  #open(call: PendingCall, flags: number, head: Uint8Array): Link {
    if (this.closed.aborted) throw gone()
    checkSendable(head)
    const stream = this.#nextStream
    this.#nextStream += 2
    this.#calls.set(stream, call)
    this.#writer.write(toFrame(stream, FrameType.request, flags, head))
    return {
      sendData: async (dataFlags, data) => {
        checkSendable(data)
        const more = this.#writer.write(toFrame(stream, FrameType.data, dataFlags, data))
        if (!more) await this.#writer.drained()
      },
      forget: () => this.#calls.delete(stream),
    }
  }

  /** A frame of a call that nobody waits for any more is dropped. */
  #receive(frame: Frame): void {
    this.#calls.get(frame.stream)?.receive(frame)
  }

  #lost(cause?: Error): void {
    const err = gone(cause)
    this.#closed.abort(err)
    for (const call of this.#calls.values()) call.fail(err)
    this.#calls.clear()
  }
}

const gone = (cause?: Error): CodedError =>
  new CodedError('unavailable', 'ttrpc: closed', { cause })

function checkStart({ signal, timeoutMs }: CallOptions): void {
  if (signal?.aborted) throw toAbortReason(signal.reason)
  if (timeoutMs !== undefined && timeoutMs <= 0) throw timedOut()
}
