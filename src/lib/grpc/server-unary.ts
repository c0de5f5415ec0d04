import type { Http2Stream, StreamReceiver } from '#lib/http2/stream.ts'
import type { Endpoint } from '#lib/rpc/dispatch.ts'
import type { ServerCall } from '#lib/rpc/server-call.ts'
import { canceledCall } from '#lib/rpc/status.ts'

import { answer, finish, ok, openResponse } from './answer.ts'
import { checkSendable, writeMessage } from './messages.ts'
import { OneRequest } from './one-request.ts'
import type { StreamHost } from './server-stream.ts'

/** A unary call being served. */
export class UnaryCall implements StreamReceiver {
  readonly #host: StreamHost
  readonly #stream: Http2Stream
  readonly #endpoint: Endpoint
  readonly #call: ServerCall
  readonly #request: OneRequest

  constructor(host: StreamHost, stream: Http2Stream, endpoint: Endpoint, call: ServerCall) {
    this.#host = host
    this.#stream = stream
    this.#endpoint = endpoint
    this.#call = call
    this.#request = new OneRequest(host.maxReceiveBytes)
  }

  onData(chunk: Buffer, end: boolean): void {
    if (this.#call.ended) return
    if (!end) this.#stream.credit(chunk.length)
    try {
      this.#request.push(chunk)
      if (end) this.#run()
    } catch (err) {
      this.#fail(err)
    }
  }

  onClose(): void {
    if (!this.#call.ended) this.#call.abort(canceledCall())
    this.#host.calls.delete(this.#call)
  }

  #run(): void {
    const reply = this.#host.dispatcher.unary(this.#endpoint, this.#call, this.#request.take())
    if (reply instanceof Uint8Array) this.#answer(reply)
    else reply.then((bytes) => this.#answer(bytes)).catch((err: unknown) => this.#fail(err))
  }

  /** @throws `resource_exhausted` if the reply is too large, before anything is sent. */
  #answer(reply: Uint8Array): void {
    checkSendable(reply, this.#host.maxSendBytes)
    this.#call.end()
    openResponse(this.#stream)
    writeMessage(this.#stream, reply)
    finish(this.#stream, ok)
  }

  #fail(err: unknown): void {
    this.#call.end()
    answer(this.#stream, this.#host.dispatcher.failed(err, this.#call))
  }
}
