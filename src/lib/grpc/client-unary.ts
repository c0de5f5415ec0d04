import { constants } from 'node:http2'

import { CodedError } from '#lib/errors/errors.ts'
import type { CallOptions } from '#lib/rpc/rpc.ts'
import { timedOut, toAbortReason } from '#lib/rpc/status.ts'
import { watch } from '#lib/rpc/watch.ts'

import { type ClientHost, type Response, finalStatus, openStream, outcome } from './client-host.ts'
import { MessageReader, checkSendable, toFrame } from './messages.ts'

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
  const stream = openStream(host, path, options)
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
  const reader = new MessageReader(host.maxReceiveBytes)
  const response: Response = {}
  let reply: Uint8Array | undefined
  const stop = (reason: unknown): void => {
    reject(reason)
    stream.close(constants.NGHTTP2_CANCEL)
  }
  const settle = (): void => {
    const err = outcome(host, stream, response)
    if (err) reject(err)
    else if (reply && !reader.inMessage) resolve(reply)
    else reject(new CodedError('internal', 'server returned no whole message'))
  }
  stream.on('error', () => {})
  stream.on('response', (headers) => {
    response.headers = headers
  })
  stream.on('trailers', (trailers) => {
    response.trailers = trailers
  })
  stream.on('data', (chunk: Buffer) => {
    try {
      for (const message of reader.push(chunk)) reply = message
    } catch (err) {
      stop(err)
    }
  })
  stream.on('end', () => {
    if (finalStatus(response)) settle()
  })
  stream.on('close', settle)
  stream.end(toFrame(request))
  using _ = watch(options, stop)
  return await promise
}
