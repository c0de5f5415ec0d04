import { CodedError } from '#lib/errors/errors.ts'
import type { Http2Stream, StreamReceiver } from '#lib/http2/stream.ts'
import type { Endpoint } from '#lib/rpc/dispatch.ts'
import type { ServerCall } from '#lib/rpc/server-call.ts'
import { canceledCall } from '#lib/rpc/status.ts'

import { MessageInbox } from './message-inbox.ts'
import { ReplyStream } from './reply-stream.ts'
import type { StreamHost } from './server-stream.ts'

/** A call being served whose requests are a stream. */
export class StreamingCall implements StreamReceiver {
  readonly #host: StreamHost
  readonly #endpoint: Endpoint
  readonly #call: ServerCall
  readonly #inbox: MessageInbox
  readonly #sending: ReplyStream

  constructor(host: StreamHost, stream: Http2Stream, endpoint: Endpoint, call: ServerCall) {
    this.#host = host
    this.#endpoint = endpoint
    this.#call = call
    this.#inbox = new MessageInbox(host.maxReceiveBytes, (bytes) => stream.credit(bytes))
    const { signal } = call
    const stop = (): void => this.#inbox.messages.fail(signal.reason)
    signal.addEventListener('abort', stop, { once: true })
    this.#sending = new ReplyStream(host, stream, call)
    void this.#sending.send(this.#replies())
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
    this.#sending.drained()
  }

  onClose(): void {
    if (!this.#call.ended) this.#call.abort(canceledCall())
    this.#host.calls.delete(this.#call)
    this.#sending.drained()
  }

  async *#replies(): AsyncGenerator<Uint8Array, void, undefined> {
    const { dispatcher } = this.#host
    const [endpoint, call, { messages }] = [this.#endpoint, this.#call, this.#inbox]
    try {
      if (endpoint.method.methodKind === 'bidi_streaming') {
        yield* dispatcher.stream(endpoint, call, messages)
      } else {
        yield await dispatcher.collect(endpoint, call, messages)
      }
    } finally {
      await messages.return()
    }
  }
}
