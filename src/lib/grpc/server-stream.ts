import { type IncomingHttpHeaders, type ServerHttp2Stream, constants } from 'node:http2'

import { CodedError } from '#lib/errors/errors.ts'
import type { Dispatcher, Endpoint } from '#lib/rpc/dispatch.ts'
import { Inbox } from '#lib/rpc/inbox.ts'
import type { Peer } from '#lib/rpc/rpc.ts'
import { ServerCall } from '#lib/rpc/server-call.ts'
import { type Status, canceledCall } from '#lib/rpc/status.ts'

import { parseTimeout, toMetadata, toTrailers } from './headers.ts'
import { MessageReader, checkSendable, drained, toFrame, writeMessage } from './messages.ts'
import { refusal } from './refusal.ts'

/** What the streams of one connection share. */
export interface StreamHost {
  readonly dispatcher: Dispatcher
  readonly peer: Peer | undefined
  readonly maxReceiveBytes: number
  readonly maxSendBytes: number
  /** Calls in flight, for the stop of the server. */
  readonly calls: Set<ServerCall>
}

const responseHeaders = {
  ':status': 200,
  'content-type': 'application/grpc',
  'grpc-accept-encoding': 'identity',
} as const

const ok: Status = { code: 0, message: '' }

/** Serves one HTTP/2 stream: refuses it, or runs the call and answers it. */
export function serveStream(
  host: StreamHost,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  rawHeaders: readonly string[],
): void {
  // A stream that fails also closes, and the close is where the call hears of it.
  stream.on('error', () => {})
  const endpoint = host.dispatcher.find(headers[':path'] ?? '')
  const refused = refusal(host.dispatcher, endpoint, headers)
  if (!endpoint || refused) {
    stream.resume()
    answer(stream, refused?.status ?? ok, refused?.http)
    return
  }
  const timeout = headers['grpc-timeout']
  const call = new ServerCall({
    transport: 'grpc',
    service: endpoint.service,
    method: endpoint.method,
    peer: host.peer,
    timeoutMs: typeof timeout === 'string' ? parseTimeout(timeout) : undefined,
    metadata: () => toMetadata(rawHeaders),
  })
  host.calls.add(call)
  stream.on('close', () => {
    if (!call.ended) call.abort(canceledCall())
    host.calls.delete(call)
  })
  if (endpoint.method.methodKind === 'unary') serveUnary(host, stream, endpoint, call)
  else void serveStreaming(host, stream, endpoint, call)
}

function serveUnary(
  host: StreamHost,
  stream: ServerHttp2Stream,
  endpoint: Endpoint,
  call: ServerCall,
): void {
  const fail = (err: unknown): void => {
    call.end()
    answer(stream, host.dispatcher.failed(err, call))
  }
  const run = (request: Uint8Array): void => {
    host.dispatcher
      .unary(endpoint, call, request)
      .then((reply) => answerOne(host, stream, call, reply))
      .catch(fail)
  }
  readOne(stream, host.maxReceiveBytes, run, fail)
}

/** @throws `resource_exhausted` if the reply is too large, before anything is sent. */
function answerOne(
  host: StreamHost,
  stream: ServerHttp2Stream,
  call: ServerCall,
  reply: Uint8Array,
): void {
  checkSendable(reply, host.maxSendBytes)
  call.end()
  if (!openResponse(stream)) return
  stream.end(toFrame(reply))
}

async function serveStreaming(
  host: StreamHost,
  stream: ServerHttp2Stream,
  endpoint: Endpoint,
  call: ServerCall,
): Promise<void> {
  let status = ok
  try {
    for await (const reply of replies(host, stream, endpoint, call)) {
      checkSendable(reply, host.maxSendBytes)
      if (!stream.headersSent && !openResponse(stream)) break
      if (stream.destroyed) break
      if (!writeMessage(stream, reply)) await drained(stream)
    }
  } catch (err) {
    status = host.dispatcher.failed(err, call)
  }
  call.end()
  finish(stream, status)
}

async function* replies(
  host: StreamHost,
  stream: ServerHttp2Stream,
  endpoint: Endpoint,
  call: ServerCall,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { dispatcher, maxReceiveBytes } = host
  if (endpoint.method.methodKind === 'server_streaming') {
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
    readOne(stream, maxReceiveBytes, resolve, reject)
    stream.once('close', () => reject(canceledCall()))
    const request = await promise
    yield* dispatcher.stream(endpoint, call, request)
    return
  }
  const requests = readMany(stream, maxReceiveBytes)
  call.signal.addEventListener('abort', () => requests.fail(call.signal.reason), { once: true })
  try {
    if (endpoint.method.methodKind === 'bidi_streaming') {
      yield* dispatcher.stream(endpoint, call, requests)
    } else {
      yield await dispatcher.collect(endpoint, call, requests)
    }
  } finally {
    await requests.return()
  }
}

/** Gives the one message of a request, or why there is not exactly one. Neither if it is cut off. */
function readOne(
  stream: ServerHttp2Stream,
  maxBytes: number,
  then: (request: Uint8Array) => void,
  fail: (err: unknown) => void,
): void {
  const reader = new MessageReader(maxBytes)
  let request: Uint8Array | undefined
  let failed = false
  stream.on('data', (chunk: Buffer) => {
    if (failed) return
    try {
      for (const message of reader.push(chunk)) {
        if (request) throw new CodedError('internal', 'more than one request message')
        request = message
      }
    } catch (err) {
      failed = true
      fail(err)
    }
  })
  stream.on('end', () => {
    if (failed || stream.aborted) return
    if (request && !reader.inMessage) then(request)
    else fail(new CodedError('internal', 'unexpected EOF'))
  })
}

/** The messages of a request as they come; the peer is held back while nobody takes them. */
function readMany(stream: ServerHttp2Stream, maxBytes: number): Inbox<Uint8Array> {
  const reader = new MessageReader(maxBytes)
  const inbox = new Inbox<Uint8Array>({
    onEmpty: () => stream.resume(),
    onReturn: () => stream.resume(),
  })
  stream.on('data', (chunk: Buffer) => {
    if (inbox.ended) return
    try {
      for (const message of reader.push(chunk)) inbox.push(message)
      if (inbox.size > 0) stream.pause()
    } catch (err) {
      inbox.end({ err })
    }
  })
  stream.on('end', () => {
    if (stream.aborted || !reader.inMessage) inbox.end()
    else inbox.end({ err: new CodedError('internal', 'unexpected EOF') })
  })
  return inbox
}

function openResponse(stream: ServerHttp2Stream): boolean {
  if (stream.destroyed || stream.closed) return false
  stream.respond(responseHeaders, { waitForTrailers: true })
  stream.on('wantTrailers', () => {
    stream.sendTrailers(toTrailers(endings.get(stream) ?? ok))
    stopReading(stream)
  })
  return true
}

/** How streams end whose trailers are still to be sent; success needs no entry. */
const endings = new WeakMap<ServerHttp2Stream, Status>()

function finish(stream: ServerHttp2Stream, status: Status): void {
  if (!stream.headersSent) {
    answer(stream, status)
    return
  }
  if (stream.destroyed || stream.closed) return
  if (status.code !== 0) endings.set(stream, status)
  stream.end()
}

/** Answers with trailers only. */
function answer(stream: ServerHttp2Stream, status: Status, http = 200): void {
  if (stream.destroyed || stream.closed) return
  stream.respond(
    { ...responseHeaders, ':status': http, ...toTrailers(status) },
    { endStream: true },
  )
  stopReading(stream)
}

/**
 * Once answered, a client that is still sending is told that nobody reads it (RFC 9113 §8.1). Not at
 * once: Node would let the reset overtake the answer, and mostly the end of the request is here soon.
 */
function stopReading(stream: ServerHttp2Stream): void {
  if (stream.readableEnded) return
  stream.resume()
  setImmediate(() => {
    if (!stream.readableEnded && !stream.destroyed) stream.close(constants.NGHTTP2_NO_ERROR)
  })
}
