import type { Http2Stream, StreamReceiver } from '#lib/http2/stream.ts'
import type { Endpoint } from '#lib/rpc/dispatch.ts'
import type { ServerCall } from '#lib/rpc/server-call.ts'
import { canceledCall } from '#lib/rpc/status.ts'

import { answer } from './answer.ts'
import { OneRequest } from './one-request.ts'
import { ReplyStream } from './reply-stream.ts'
import type { StreamHost } from './server-stream.ts'

/** A call being served that has one request and streams its replies, such as a read of content. */
export class ReplyingCall implements StreamReceiver {
  readonly #host: StreamHost
  readonly #stream: Http2Stream
  readonly #endpoint: Endpoint
  readonly #call: ServerCall
  readonly #request: OneRequest
  readonly #replies: ReplyStream

  constructor(host: StreamHost, stream: Http2Stream, endpoint: Endpoint, call: ServerCall) {
    this.#host = host
    this.#stream = stream
    this.#endpoint = endpoint
    this.#call = call
    this.#request = new OneRequest(host.maxReceiveBytes)
    this.#replies = new ReplyStream(host, stream, call)
  }

  onData(chunk: Buffer, end: boolean): void {
    const [call, { dispatcher }] = [this.#call, this.#host]
    if (call.ended) return
    if (!end) this.#stream.credit(chunk.length)
    try {
      this.#request.push(chunk)
      if (!end) return
      void this.#replies.send(dispatcher.stream(this.#endpoint, call, this.#request.take()))
    } catch (err) {
      call.end()
      answer(this.#stream, dispatcher.failed(err, call))
    }
  }

  onDrain(): void {
    this.#replies.drained()
  }

  onClose(): void {
    if (!this.#call.ended) this.#call.abort(canceledCall())
    this.#host.calls.delete(this.#call)
    this.#replies.drained()
  }
}
