import type { IncomingHttpHeaders } from 'node:http'
import type { Readable } from 'node:stream'

import { failedPrecondition, unavailable } from '#lib/errors/errors.ts'

import type { Transport } from './transport.ts'

/** What is sent. */
export interface Outgoing {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH'
  readonly url: URL
  /** For whoever answers in the end. */
  readonly headers: Readonly<Record<string, string>>
  /** Only for the origin of `url`: what proves who asks, and what was configured for that host. */
  readonly own: Readonly<Record<string, string | readonly string[]>>
  /** Makes the body; again, when it must be sent again. */
  readonly body?: (() => Iterable<Uint8Array> | AsyncIterable<Uint8Array>) | undefined
}

/** What came back. The body must be read or given up with `discard`. */
export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** Where it came from in the end. */
  readonly url: URL
  /** It came from another origin than was asked: nothing it says is the registry's word. */
  readonly foreign: boolean
  readonly body: Readable & {
    dump?(options: { readonly limit: number; readonly signal: AbortSignal }): Promise<void>
  }
}

const mostRedirects = 10

/**
 * Sends `outgoing`, and follows redirects: a request with a body only where its method and body are
 * kept (307, 308); from https never to http; to another origin without `own`.
 *
 * @throws `unavailable` for a loop, `failed_precondition` for a redirect that is refused; failures of
 * the connection as they are.
 */
export async function exchange(
  transport: Transport,
  outgoing: Outgoing,
  signal: AbortSignal,
): Promise<Answer> {
  let { url } = outgoing
  for (let hops = 0; ; hops++) {
    const foreign = url.origin !== outgoing.url.origin
    const answer = await sendTo(transport, outgoing, url, foreign, signal)
    const location = followed(outgoing, answer)
    if (location === undefined) return answer
    await discard(answer)
    if (hops === mostRedirects) {
      throw unavailable(`${url.host} redirects in a loop: stopped after ${mostRedirects} redirects`)
    }
    url = nextUrl(url, location)
  }
}

async function sendTo(
  transport: Transport,
  { method, headers, own, body }: Outgoing,
  url: URL,
  foreign: boolean,
  signal: AbortSignal,
): Promise<Answer> {
  const answer = await transport.request(url, {
    method,
    headers: withLists({ ...headers, ...(foreign ? {} : own) }),
    signal,
    ...(body && { body: inPieces(body()) }),
  })
  return { status: answer.statusCode, headers: answer.headers, url, foreign, body: answer.body }
}

/**
 * Undici takes them as they are, and asks for a piece when the socket has taken the one before; its types
 * know of streams alone.
 */
const inPieces = (pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Readable =>
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- see above
  pieces as unknown as Readable

const withLists = (
  headers: Readonly<Record<string, string | readonly string[]>>,
): Record<string, string | string[]> =>
  Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [
      name,
      typeof value === 'string' ? value : [...value],
    ]),
  )

/** Where to go on; undefined when this is the answer. */
function followed({ method }: Outgoing, { status, headers }: Answer): string | undefined {
  const isRead = method === 'GET' || method === 'HEAD'
  const follows = isRead ? [301, 302, 303, 307, 308] : [307, 308]
  return follows.includes(status) ? headers.location : undefined
}

function nextUrl(from: URL, location: string): URL {
  const next = URL.parse(location, from)
  if (next === null || !['http:', 'https:'].includes(next.protocol)) {
    throw failedPrecondition(`${from.host} redirects to something that is not http or https`)
  }
  if (from.protocol === 'https:' && next.protocol === 'http:') {
    throw failedPrecondition(
      `${from.host} redirects from https to plain http on ${next.host}, which is refused`,
    )
  }
  next.username = ''
  next.password = ''
  next.hash = ''
  return next
}

/** Gives up what is left of an answer: a short rest is read so that the connection stays open. */
export async function discard({ body, headers }: Answer): Promise<void> {
  if (headers['content-length'] === '0') {
    body.on('error', ignore).resume()
    return
  }
  body.on('error', ignore)
  const late = new AbortController()
  using _timer = setTimeout(() => late.abort(), discardMs)
  await body.dump?.({ limit: discardBytes, signal: late.signal }).catch(ignore)
  body.destroy()
}

const discardBytes = 16 * 1024
const discardMs = 1000
const ignore = (): void => undefined
