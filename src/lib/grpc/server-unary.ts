import { CodedError } from '#lib/errors/errors.ts'
import type { Http2Stream, StreamReceiver } from '#lib/http2/stream.ts'
import type { Endpoint } from '#lib/rpc/dispatch.ts'
import type { ServerCall } from '#lib/rpc/server-call.ts'
import { canceledCall } from '#lib/rpc/status.ts'

import { answer, finish, ok, openResponse } from './answer.ts'
import { MessageReader, checkSendable, wholeMessage, writeMessage } from './messages.ts'
import type { StreamHost } from './server-stream.ts'

/** A unary call being served. A request that comes in one piece costs no reader and no promise. */
export class UnaryCall implements StreamReceiver {
  readonly #host: StreamHost
  readonly #stream: Http2Stream
  readonly #endpoint: Endpoint
  readonly #call: ServerCall
  #reader: MessageReader | undefined
  #request: Uint8Array | undefined

  constructor(host: StreamHost, stream: Http2Stream, endpoint: Endpoint, call: ServerCall) {
    this.#host = host
    this.#stream = stream
    this.#endpoint = endpoint
    this.#call = call
  }

  onData(chunk: Buffer, end: boolean): void {
    if (this.#call.ended) return
    if (!end) this.#stream.credit(chunk.length)
    try {
      this.#take(chunk)
      if (end) this.#run()
    } catch (err) {
      this.#fail(err)
    }
  }

  onClose(): void {
    if (!this.#call.ended) this.#call.abort(canceledCall())
    this.#host.calls.delete(this.#call)
  }

  #take(chunk: Buffer): void {
    const { maxReceiveBytes } = this.#host
    if (!this.#reader && !this.#request) {
      this.#request = wholeMessage(chunk, maxReceiveBytes)
      if (this.#request) return
    }
    this.#reader ??= new MessageReader(maxReceiveBytes)
    for (const message of this.#reader.push(chunk)) {
      if (this.#request) throw new CodedError('internal', 'more than one request message')
      this.#request = message
    }
  }

  #run(): void {
    const request = this.#request
    if (!request || this.#reader?.inMessage) throw new CodedError('internal', 'unexpected EOF')
    const reply = this.#host.dispatcher.unary(this.#endpoint, this.#call, request)
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
