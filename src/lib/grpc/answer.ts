import type { HeaderList } from '#lib/http2/header-block.ts'
import type { Http2Stream } from '#lib/http2/stream.ts'
import type { Status } from '#lib/rpc/status.ts'

import { toTrailers } from './headers.ts'

/** The status of success. */
export const ok: Status = { code: 0, message: '' }

const common = ['content-type', 'application/grpc', 'grpc-accept-encoding', 'identity']
const responseHeaders: HeaderList = [':status', '200', ...common]
const okTrailers: HeaderList = ['grpc-status', '0']
const none: HeaderList = []

/** Begins a response; messages and `finish` follow. */
export function openResponse(stream: Http2Stream): void {
  stream.sendHeaders(responseHeaders)
}

/** Ends a response with a status, in trailers alone if nothing has been sent. */
export function finish(stream: Http2Stream, status: Status): void {
  if (!stream.headersSent) answer(stream, status)
  else if (status.code === 0) stream.sendTrailers(okTrailers)
  else stream.sendTrailers(none, toTrailers(status))
}

/** Answers with trailers only. */
export function answer(stream: Http2Stream, status: Status, http = 200): void {
  const trailers = status.code === 0 ? okTrailers : toTrailers(status)
  if (http === 200) stream.sendHeaders(responseHeaders, trailers, true)
  else stream.sendHeaders(none, [':status', String(http), ...common, ...trailers], true)
}
