import type { Socket } from 'node:net'

import { CodedError, describe } from '#lib/errors/errors.ts'
import type { Dispatcher, Endpoint } from '#lib/rpc/dispatch.ts'
import type { Peer } from '#lib/rpc/rpc.ts'
import { ServerCall } from '#lib/rpc/server-call.ts'
import { type Status, canceledCall, toStatus } from '#lib/rpc/status.ts'

import { type Request, decodeRequest, encodeResponse } from './envelope.ts'
import {
  type Frame,
  FrameFlag,
  FrameReader,
  FrameType,
  checkSendable,
  toFrame,
  tooLarge,
} from './frame.ts'
import { StreamInbox } from './stream-inbox.ts'
import { SocketWriter } from './socket-writer.ts'

/** What the connections of one server share. */
export interface ConnectionHost {
  readonly dispatcher: Dispatcher
  readonly maxReceiveBytes: number
  readonly maxSendBytes: number
}

interface ActiveCall {
  readonly call: ServerCall
  readonly requests?: StreamInbox
}

const none = new Uint8Array()

/** Serves one socket. Each frame is handled at once; methods run side by side. */
export class ServerConnection {
  readonly #host: ConnectionHost
  readonly #socket: Socket
  readonly #peer: Peer | undefined
  readonly #writer: SocketWriter
  readonly #calls = new Map<number, ActiveCall>()
  #lastStream = 0
  #idle: (() => void) | undefined

  constructor(host: ConnectionHost, socket: Socket, peer: Peer | undefined) {
    this.#host = host
    this.#socket = socket
    this.#peer = peer
    this.#writer = new SocketWriter(socket)
    const reader = new FrameReader(host.maxReceiveBytes)
    socket.on('data', (chunk: Buffer) => {
      for (const frame of reader.push(chunk)) this.#receive(frame)
    })
    socket.on('error', () => socket.destroy())
    socket.on('close', () => this.abort(canceledCall(new Error('client disconnected'))))
  }

  get activeCalls(): number {
    return this.#calls.size
  }

  /** Resolves when no call is in flight. */
  async idle(): Promise<void> {
    if (this.#calls.size === 0) return
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#idle = resolve
    await promise
  }

  /** Tells every call in flight to stop. */
  abort(reason: CodedError): void {
    for (const { call, requests } of this.#calls.values()) {
      call.abort(reason)
      requests?.fail(reason)
    }
  }

  #receive(frame: Frame): void {
    if (frame.oversize !== undefined) {
      this.#refuse(frame.stream, tooLarge(frame.oversize, this.#host.maxReceiveBytes))
    } else if (frame.stream % 2 !== 1) {
      this.#refuse(frame.stream, invalid('StreamID must be odd for client initiated streams'))
    } else if (frame.type === FrameType.data) {
      this.#data(frame)
    } else if (frame.type === FrameType.request) {
      this.#request(frame)
    }
    // Frames of other types are ignored, as upstream does for the sake of later versions.
  }

  #data(frame: Frame): void {
    const requests = this.#calls.get(frame.stream)?.requests
    if (!requests) {
      this.#refuse(frame.stream, invalid('StreamID is no longer active'))
      return
    }
    if ((frame.flags & FrameFlag.noData) === 0) requests.push(frame.data)
    if ((frame.flags & FrameFlag.remoteClosed) !== 0) requests.end()
  }

  #request(frame: Frame): void {
    if (frame.stream <= this.#lastStream) {
      this.#refuse(frame.stream, invalid('StreamID cannot be re-used and must increment'))
      return
    }
    this.#lastStream = frame.stream
    try {
      const request = decodeRequest(frame.data)
      this.#start(frame, request, this.#find(request))
    } catch (err) {
      const coded = err instanceof CodedError
      this.#refuse(frame.stream, coded ? err : invalid(`unmarshal request error: ${describe(err)}`))
    }
  }

  #find({ service, method }: Request): Endpoint {
    const { dispatcher } = this.#host
    const endpoint = dispatcher.find(`/${service}/${method}`)
    if (endpoint) return endpoint
    throw new CodedError('unimplemented', dispatcher.unknown(service, method))
  }

  #start(frame: Frame, request: Request, endpoint: Endpoint): void {
    const call = new ServerCall({
      transport: 'ttrpc',
      service: endpoint.service,
      method: endpoint.method,
      peer: this.#peer,
      timeoutMs: request.timeoutMs,
      metadata: () => request.metadata,
    })
    const { methodKind } = endpoint.method
    const streamsIn = methodKind === 'client_streaming' || methodKind === 'bidi_streaming'
    const requests = streamsIn ? this.#inbox(frame, request, call) : undefined
    this.#calls.set(frame.stream, requests ? { call, requests } : { call })
    const given = requests ?? request.payload ?? none
    if (methodKind === 'unary' || methodKind === 'client_streaming') {
      void this.#answer(frame.stream, endpoint, call, given)
    } else {
      void this.#answerMany(frame.stream, endpoint, call, given)
    }
  }

  #inbox(frame: Frame, request: Request, call: ServerCall): StreamInbox {
    const requests = new StreamInbox(this.#socket)
    if (request.payload) requests.push(request.payload)
    if ((frame.flags & FrameFlag.remoteOpen) === 0) requests.end()
    const { signal } = call
    signal.addEventListener('abort', () => requests.fail(signal.reason), { once: true })
    return requests
  }

  async #answer(
    stream: number,
    endpoint: Endpoint,
    call: ServerCall,
    given: Uint8Array | StreamInbox,
  ): Promise<void> {
    const { dispatcher } = this.#host
    try {
      const payload =
        given instanceof StreamInbox
          ? await dispatcher.collect(endpoint, call, given)
          : await dispatcher.unary(endpoint, call, given)
      this.#respond(stream, encodeResponse({ payload }))
    } catch (err) {
      this.#respond(stream, encodeResponse({ status: dispatcher.failed(err, call) }))
    }
    this.#ended(stream, call)
  }

  async #answerMany(
    stream: number,
    endpoint: Endpoint,
    call: ServerCall,
    given: Uint8Array | StreamInbox,
  ): Promise<void> {
    const { dispatcher } = this.#host
    try {
      for await (const payload of dispatcher.stream(endpoint, call, given)) {
        if (this.#socket.destroyed) break
        checkSendable(payload, this.#host.maxSendBytes)
        const more = this.#writer.write(toFrame(stream, FrameType.data, 0, payload))
        if (!more) await this.#writer.drained()
      }
      const flags = FrameFlag.remoteClosed | FrameFlag.noData
      this.#writer.write(toFrame(stream, FrameType.data, flags, none))
    } catch (err) {
      this.#respond(stream, encodeResponse({ status: dispatcher.failed(err, call) }))
    }
    this.#ended(stream, call)
  }

  #ended(stream: number, call: ServerCall): void {
    call.end()
    this.#calls.get(stream)?.requests?.end()
    this.#calls.delete(stream)
    if (this.#calls.size === 0) this.#idle?.()
  }

  /** @throws `resource_exhausted` if `data` does not fit into a frame. */
  #respond(stream: number, data: Uint8Array): void {
    checkSendable(data, this.#host.maxSendBytes)
    this.#writer.write(toFrame(stream, FrameType.response, 0, data))
  }

  #refuse(stream: number, err: CodedError): void {
    const status: Status = toStatus(err)
    this.#writer.write(toFrame(stream, FrameType.response, 0, encodeResponse({ status })))
    const active = this.#calls.get(stream)
    active?.call.abort(canceledCall(err))
    active?.requests?.fail(err)
  }
}

const invalid = (message: string): CodedError => new CodedError('invalid_argument', message)
