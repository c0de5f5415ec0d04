import { CodedError } from '#lib/errors/errors.ts'
import type { HeaderBlock } from '#lib/http2/header-block.ts'
import { ErrorCode } from '#lib/http2/protocol.ts'
import type { Http2Stream, StreamEnd, StreamReceiver } from '#lib/http2/stream.ts'
import type { CallOptions } from '#lib/rpc/rpc.ts'
import { timedOut, toAbortReason } from '#lib/rpc/status.ts'
import { watch } from '#lib/rpc/watch.ts'

import { type ClientHost, type Response, openStream, outcome } from './client-host.ts'
import { Drain } from './drain.ts'
import { MessageInbox } from './message-inbox.ts'
import { checkSendable, writeMessage } from './messages.ts'

/** A call with streams. It begins at once; leaving the iteration early cancels it. */
export class GrpcStream implements AsyncIterableIterator<Uint8Array>, StreamReceiver {
  readonly #host: ClientHost
  readonly #inbox: MessageInbox
  readonly #scope = new DisposableStack()
  readonly #response: Response = {}
  readonly #drain = new Drain()
  #stream: Http2Stream | undefined

  constructor(
    host: ClientHost,
    path: string,
    requests: Uint8Array | AsyncIterable<Uint8Array>,
    options: CallOptions,
  ) {
    this.#host = host
    this.#inbox = new MessageInbox(
      host.maxReceiveBytes,
      (bytes) => this.#stream?.credit(bytes),
      () => this.#stop(new CodedError('canceled', 'context canceled')),
    )
    try {
      if (options.signal?.aborted) throw toAbortReason(options.signal.reason)
      if (options.timeoutMs !== undefined && options.timeoutMs <= 0) throw timedOut()
      this.#stream = openStream(host, path, options, this)
    } catch (err) {
      this.#inbox.messages.end({ err })
      return
    }
    this.#scope.use(watch(options, (reason) => this.#stop(reason)))
    void this.#send(this.#stream, requests)
  }

  next(): Promise<IteratorResult<Uint8Array>> {
    return this.#inbox.messages.next()
  }

  return(): Promise<IteratorResult<Uint8Array>> {
    return this.#inbox.messages.return()
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  onHeaders(block: HeaderBlock): void {
    this.#response.headers = block
  }

  onTrailers(block: HeaderBlock): void {
    this.#response.trailers = block
  }

  onData(chunk: Buffer): void {
    try {
      this.#inbox.push(chunk)
    } catch (err) {
      this.#stop(err)
    }
  }

  onDrain(): void {
    this.#drain.done()
  }

  onClose(end: StreamEnd, errorCode: number): void {
    this.#scope.dispose()
    this.#drain.done()
    const cut = this.#inbox.inMessage ? new CodedError('internal', 'unexpected EOF') : undefined
    const err = outcome(this.#response, end, errorCode) ?? cut
    this.#inbox.messages.end(err && { err })
  }

  #stop(reason: unknown): void {
    this.#scope.dispose()
    this.#inbox.messages.fail(reason)
    this.#stream?.reset(ErrorCode.cancel)
  }

  /** Writes the requests. A source that fails cancels the call and is what the reader gets. */
  async #send(
    stream: Http2Stream,
    requests: Uint8Array | AsyncIterable<Uint8Array>,
  ): Promise<void> {
    try {
      if (requests instanceof Uint8Array) {
        checkSendable(requests, this.#host.maxSendBytes)
        writeMessage(stream, requests, true)
        return
      }
      for await (const request of requests) {
        if (stream.closed) break
        checkSendable(request, this.#host.maxSendBytes)
        if (!writeMessage(stream, request)) await this.#drain.wait(stream)
      }
      stream.sendData(noData, true)
    } catch (err) {
      this.#stop(err)
    }
  }
}

const noData = new Uint8Array()
