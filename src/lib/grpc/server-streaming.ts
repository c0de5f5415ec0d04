import { CodedError } from '#lib/errors/errors.ts'
import type { Http2Stream, StreamReceiver } from '#lib/http2/stream.ts'
import type { Endpoint } from '#lib/rpc/dispatch.ts'
import type { ServerCall } from '#lib/rpc/server-call.ts'
import { canceledCall } from '#lib/rpc/status.ts'

import { finish, ok, openResponse } from './answer.ts'
import { Drain } from './drain.ts'
import { MessageInbox } from './message-inbox.ts'
import { checkSendable, writeMessage } from './messages.ts'
import type { StreamHost } from './server-stream.ts'

/** A call with streams being served. */
export class StreamingCall implements StreamReceiver {
  readonly #host: StreamHost
  readonly #stream: Http2Stream
  readonly #endpoint: Endpoint
  readonly #call: ServerCall
  readonly #inbox: MessageInbox
  readonly #drain = new Drain()

  constructor(host: StreamHost, stream: Http2Stream, endpoint: Endpoint, call: ServerCall) {
    this.#host = host
    this.#stream = stream
    this.#endpoint = endpoint
    this.#call = call
    this.#inbox = new MessageInbox(host.maxReceiveBytes, (bytes) => stream.credit(bytes))
    const { signal } = call
    const stop = (): void => this.#inbox.messages.fail(signal.reason)
    signal.addEventListener('abort', stop, { once: true })
    void this.#serve()
  }

  onData(chunk: Buffer, end: boolean): void {
    const { messages } = this.#inbox
    try {
      this.#inbox.push(chunk)
      if (!end) return
      if (this.#inbox.inMessage) throw new CodedError('internal', 'unexpected EOF')
      messages.end()
    } catch (err) {
      messages.end({ err })
    }
  }

  onDrain(): void {
    this.#drain.done()
  }

  onClose(): void {
    if (!this.#call.ended) this.#call.abort(canceledCall())
    this.#host.calls.delete(this.#call)
    this.#drain.done()
  }

  async #serve(): Promise<void> {
    const [stream, call] = [this.#stream, this.#call]
    let status = ok
    try {
      for await (const reply of this.#replies()) {
        checkSendable(reply, this.#host.maxSendBytes)
        if (stream.closed) break
        openResponse(stream)
        if (!writeMessage(stream, reply)) await this.#drain.wait(stream)
      }
    } catch (err) {
      status = this.#host.dispatcher.failed(err, call)
    }
    call.end()
    finish(stream, status)
  }

  async *#replies(): AsyncGenerator<Uint8Array, void, undefined> {
    const { dispatcher } = this.#host
    const [endpoint, call, { messages }] = [this.#endpoint, this.#call, this.#inbox]
    try {
      if (endpoint.method.methodKind === 'server_streaming') {
        yield* dispatcher.stream(endpoint, call, await this.#only())
      } else if (endpoint.method.methodKind === 'bidi_streaming') {
        yield* dispatcher.stream(endpoint, call, messages)
      } else {
        yield await dispatcher.collect(endpoint, call, messages)
      }
    } finally {
      await messages.return()
    }
  }

  /** The one request of a method that streams only its replies. */
  async #only(): Promise<Uint8Array> {
    const { messages } = this.#inbox
    const request = await messages.next()
    if (request.done) throw new CodedError('internal', 'unexpected EOF')
    const another = await messages.next()
    if (another.done) return request.value
    throw new CodedError('internal', 'more than one request message')
  }
}
