import { CodedError } from '#lib/errors/errors.ts'
import type { HeaderBlock } from '#lib/http2/header-block.ts'
import { ErrorCode } from '#lib/http2/protocol.ts'
import type { Http2Stream, StreamEnd, StreamReceiver } from '#lib/http2/stream.ts'
import type { CallOptions } from '#lib/rpc/rpc.ts'
import { timedOut, toAbortReason } from '#lib/rpc/status.ts'
import { watch } from '#lib/rpc/watch.ts'

import { type ClientHost, type Response, openStream, outcome } from './client-host.ts'
import { MessageReader, checkSendable, wholeMessage, writeMessage } from './messages.ts'

/** One message there, one back. @throws the status of the call. */
export async function callUnary(
  host: ClientHost,
  path: string,
  request: Uint8Array,
  options: CallOptions,
): Promise<Uint8Array> {
  if (options.signal?.aborted) throw toAbortReason(options.signal.reason)
  if (options.timeoutMs !== undefined && options.timeoutMs <= 0) throw timedOut()
  checkSendable(request, host.maxSendBytes)
  const call = new UnaryCall(host.maxReceiveBytes)
  call.start(openStream(host, path, options, call), request)
  if (!options.signal && options.timeoutMs === undefined) return await call.reply
  using _ = watch(options, (reason) => call.stop(reason))
  return await call.reply
}

class UnaryCall implements StreamReceiver {
  readonly reply: Promise<Uint8Array>
  readonly #maxBytes: number
  readonly #resolve: (reply: Uint8Array) => void
  readonly #reject: (err: unknown) => void
  readonly #response: Response = {}
  #stream: Http2Stream | undefined
  /** Puts a reply together that has not come in one piece. */
  #reader: MessageReader | undefined
  #message: Uint8Array | undefined

  constructor(maxBytes: number) {
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
    this.reply = promise
    this.#resolve = resolve
    this.#reject = reject
    this.#maxBytes = maxBytes
  }

  start(stream: Http2Stream, request: Uint8Array): void {
    this.#stream = stream
    writeMessage(stream, request, true)
  }

  stop(reason: unknown): void {
    this.#reject(reason)
    this.#stream?.reset(ErrorCode.cancel)
  }

  onHeaders(block: HeaderBlock): void {
    this.#response.headers = block
  }

  onTrailers(block: HeaderBlock): void {
    this.#response.trailers = block
  }

  onData(chunk: Buffer, end: boolean): void {
    if (!end) this.#stream?.credit(chunk.length)
    try {
      this.#take(chunk)
    } catch (err) {
      this.stop(err)
    }
  }

  onClose(end: StreamEnd, errorCode: number): void {
    const err = outcome(this.#response, end, errorCode)
    if (err) this.#reject(err)
    else if (this.#message && !this.#reader?.inMessage) this.#resolve(this.#message)
    else this.#reject(new CodedError('internal', 'server returned no whole message'))
  }

  #take(chunk: Buffer): void {
    if (!this.#reader && !this.#message) {
      this.#message = wholeMessage(chunk, this.#maxBytes)
      if (this.#message) return
    }
    this.#reader ??= new MessageReader(this.#maxBytes)
    for (const message of this.#reader.push(chunk)) this.#message = message
  }
}
