import { type ClientHttp2Stream, constants } from 'node:http2'

import { CodedError } from '#lib/errors/errors.ts'
import { Inbox } from '#lib/rpc/inbox.ts'
import type { CallOptions } from '#lib/rpc/rpc.ts'
import { timedOut, toAbortReason } from '#lib/rpc/status.ts'
import { watch } from '#lib/rpc/watch.ts'

import { type ClientHost, type Response, openStream, outcome } from './client-host.ts'
import { MessageReader, checkSendable, drained, writeMessage } from './messages.ts'

/** A call with streams. It begins at once; leaving the iteration early cancels it. */
export class GrpcStream implements AsyncIterableIterator<Uint8Array> {
  readonly #host: ClientHost
  readonly #inbox: Inbox<Uint8Array>
  readonly #scope = new DisposableStack()
  readonly #response: Response = {}
  #stream: ClientHttp2Stream | undefined

  constructor(
    host: ClientHost,
    path: string,
    requests: Uint8Array | AsyncIterable<Uint8Array>,
    options: CallOptions,
  ) {
    this.#host = host
    this.#inbox = new Inbox({
      onEmpty: () => this.#stream?.resume(),
      onReturn: () => this.#stop(new CodedError('canceled', 'context canceled')),
    })
    try {
      if (options.signal?.aborted) throw toAbortReason(options.signal.reason)
      if (options.timeoutMs !== undefined && options.timeoutMs <= 0) throw timedOut()
      this.#stream = openStream(host, path, options)
    } catch (err) {
      this.#inbox.end({ err })
      return
    }
    this.#receive(this.#stream)
    this.#scope.use(watch(options, (reason) => this.#stop(reason)))
    void this.#send(this.#stream, requests)
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

  #stop(reason: unknown): void {
    this.#scope.dispose()
    this.#inbox.fail(reason)
    this.#stream?.close(constants.NGHTTP2_CANCEL)
  }

  #receive(stream: ClientHttp2Stream): void {
    const reader = new MessageReader(this.#host.maxReceiveBytes)
    stream.on('error', () => {})
    stream.on('response', (headers) => {
      this.#response.headers = headers
    })
    stream.on('trailers', (trailers) => {
      this.#response.trailers = trailers
    })
    stream.on('data', (chunk: Buffer) => {
      try {
        for (const message of reader.push(chunk)) this.#inbox.push(message)
        if (this.#inbox.size > 0) stream.pause()
      } catch (err) {
        this.#stop(err)
      }
    })
    stream.on('close', () => {
      this.#scope.dispose()
      const cut = reader.inMessage ? new CodedError('internal', 'unexpected EOF') : undefined
      const err = outcome(this.#host, stream, this.#response) ?? cut
      this.#inbox.end(err && { err })
    })
  }

  /** Writes the requests. A source that fails cancels the call and is what the reader gets. */
  async #send(
    stream: ClientHttp2Stream,
    requests: Uint8Array | AsyncIterable<Uint8Array>,
  ): Promise<void> {
    try {
      for await (const request of requests instanceof Uint8Array ? [requests] : requests) {
        if (stream.destroyed || stream.closed) break
        checkSendable(request, this.#host.maxSendBytes)
        if (!writeMessage(stream, request)) await drained(stream)
      }
      stream.end()
    } catch (err) {
      this.#stop(err)
    }
  }
}
