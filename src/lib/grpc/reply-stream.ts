import type { Http2Stream } from '#lib/http2/stream.ts'
import type { ServerCall } from '#lib/rpc/server-call.ts'

import { finish, ok, openResponse } from './answer.ts'
import { Drain } from './drain.ts'
import { checkSendable, writeMessage } from './messages.ts'
import type { StreamHost } from './server-stream.ts'

/** The replies of a call on their way: no faster than its client takes them. */
export class ReplyStream {
  readonly #host: StreamHost
  readonly #stream: Http2Stream
  readonly #call: ServerCall
  readonly #drain = new Drain()

  constructor(host: StreamHost, stream: Http2Stream, call: ServerCall) {
    this.#host = host
    this.#stream = stream
    this.#call = call
  }

  /** The stream takes more, or is over. */
  drained(): void {
    this.#drain.done()
  }

  /** Sends all of them, and then how the call has ended. */
  async send(replies: AsyncIterable<Uint8Array>): Promise<void> {
    const stream = this.#stream
    let status = ok
    try {
      for await (const reply of replies) {
        checkSendable(reply, this.#host.maxSendBytes)
        if (stream.closed) break
        openResponse(stream)
        if (!writeMessage(stream, reply)) await this.#drain.wait(stream)
      }
    } catch (err) {
      status = this.#host.dispatcher.failed(err, this.#call)
    }
    this.#call.end()
    finish(stream, status)
  }
}
