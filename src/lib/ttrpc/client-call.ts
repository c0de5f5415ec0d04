import type { Socket } from 'node:net'

import { CodedError, describe } from '#lib/errors/errors.ts'
import type { CallOptions } from '#lib/rpc/rpc.ts'
import { canceledCall, fromStatus } from '#lib/rpc/status.ts'
import { watch } from '#lib/rpc/watch.ts'

import { type Response, decodeResponse } from './envelope.ts'
import { type Frame, FrameFlag, FrameType, maxDataBytes, tooLarge } from './frame.ts'
import { StreamInbox } from './stream-inbox.ts'

/** What the connection gives to a call: its place on the wire. */
export interface Link {
  /** Sends a data frame; resolves when the socket takes more. @throws `resource_exhausted`. */
  sendData(flags: number, data: Uint8Array): Promise<void>
  /** Frames of this call are dropped from now on. */
  forget(): void
}

/** A call in flight, as the connection sees it. */
export interface PendingCall {
  receive(frame: Frame): void
  fail(err: unknown): void
}

const none = new Uint8Array()

/** One message there, one back. */
export class UnaryCall implements PendingCall {
  readonly #reply = Promise.withResolvers<Uint8Array>()

  /** @throws the status of the call. */
  get reply(): Promise<Uint8Array> {
    return this.#reply.promise
  }

  receive(frame: Frame): void {
    try {
      this.#reply.resolve(readResponse(frame).payload ?? none)
    } catch (err) {
      this.fail(err)
    }
  }

  fail(err: unknown): void {
    this.#reply.reject(err)
  }
}

/** A call with streams. Leaving the iteration early abandons it: ttrpc cannot cancel. */
export class StreamCall implements PendingCall, AsyncIterableIterator<Uint8Array> {
  readonly #inbox: StreamInbox
  readonly #scope = new DisposableStack()
  #link: Link | undefined
  #sending = false

  constructor(socket: Socket) {
    this.#inbox = new StreamInbox(socket, () => this.fail(canceledCall()))
  }

  /** Begins to send, and to obey the signal and the deadline of the caller. */
  start(link: Link, requests: AsyncIterable<Uint8Array> | undefined, options: CallOptions): void {
    this.#link = link
    this.#scope.use(watch(options, (reason) => this.fail(reason)))
    if (requests) void this.#send(link, requests)
  }

  receive(frame: Frame): void {
    if (frame.type !== FrameType.data || frame.oversize !== undefined) {
      this.#finish(frame)
      return
    }
    if ((frame.flags & FrameFlag.noData) === 0) this.#inbox.push(frame.data)
    if ((frame.flags & FrameFlag.remoteClosed) === 0) return
    this.#leave()
    this.#inbox.end()
  }

  fail(err: unknown): void {
    this.#leave()
    this.#inbox.fail(err)
  }

  next(): Promise<IteratorResult<Uint8Array>> {
    return this.#inbox.next()
  }

  return(): Promise<IteratorResult<Uint8Array>> {
    return this.#inbox.return()
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  #finish(frame: Frame): void {
    this.#leave()
    try {
      const { payload } = readResponse(frame)
      if (payload) this.#inbox.push(payload)
      this.#inbox.end()
    } catch (err) {
      this.#inbox.end({ err })
    }
  }

  /** The call is over: the server hears, if it was still being sent to, that no more comes. */
  #leave(): void {
    this.#scope.dispose()
    this.#link?.forget()
    if (this.#sending) this.#close()
  }

  #close(): void {
    this.#sending = false
    // The end of a stream is small: it never waits for the socket, and cannot be too large.
    void this.#link?.sendData(FrameFlag.remoteClosed | FrameFlag.noData, none)
  }

  /** A source that fails abandons the call and is what the reader gets. */
  async #send(link: Link, requests: AsyncIterable<Uint8Array>): Promise<void> {
    this.#sending = true
    try {
      for await (const request of requests) {
        if (!this.#sending) return
        await link.sendData(0, request)
      }
      if (this.#sending) this.#close()
    } catch (err) {
      this.fail(err)
    }
  }
}

/** @throws the status of the call, if it is not success. */
function readResponse(frame: Frame): Response {
  if (frame.oversize !== undefined) throw tooLarge(frame.oversize, maxDataBytes)
  if (frame.type !== FrameType.response) {
    throw new CodedError('internal', `unexpected message of type ${frame.type} received`)
  }
  const response = decode(frame.data)
  if (response.status && response.status.code !== 0) throw fromStatus(response.status)
  return response
}

function decode(data: Buffer): Response {
  try {
    return decodeResponse(data)
  } catch (err) {
    throw new CodedError('internal', `cannot read the reply: ${describe(err)}`, { cause: err })
  }
}
