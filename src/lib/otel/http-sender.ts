import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { gzipSync } from 'node:zlib'

import type { OpenSender, Refusal } from './sender.ts'

/** Answers that mean "later". Source: OTLP specification, "OTLP/HTTP: Retryable Response Codes". */
const later: readonly number[] = [429, 502, 503, 504]

/** One POST for each export. */
export const httpSender: OpenSender = ({ url, encoding, gzip, headers, tls }) => ({
  async send(plain, signal) {
    const body = gzip ? gzipSync(plain) : plain
    const { promise, resolve, reject } = Promise.withResolvers<Refusal | undefined>()
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest
    const outgoing = send(url, {
      method: 'POST',
      signal,
      headers: {
        'content-type': `application/${encoding === 'json' ? 'json' : 'x-protobuf'}`,
        'content-length': body.length,
        ...(gzip ? { 'content-encoding': 'gzip' } : {}),
        ...headers,
      },
      ...tls,
    })
    outgoing.on('error', reject).on('response', (response) => {
      const { statusCode = 0 } = response
      response.resume().on('error', reject)
      response.on('end', () => resolve(refusalOf(statusCode)))
    })
    outgoing.end(body)
    return await promise
  },
  async [Symbol.asyncDispose]() {
    // Every request has a connection of its own.
  },
})

const refusalOf = (status: number): Refusal | undefined =>
  status < 300 ? undefined : { reason: `status ${status}`, isTemporary: later.includes(status) }
