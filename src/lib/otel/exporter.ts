import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'

import { describe } from '#lib/errors/errors.ts'

import { encodeJson } from './otlp-json.ts'
import { encodeProtobuf } from './otlp-protobuf.ts'
import type { OtlpSettings } from './settings.ts'
import type { SpanData } from './span-data.ts'

/** Answers that mean "later". Source: OTLP specification, "Retryable Response Codes". */
const later: readonly number[] = [429, 502, 503, 504]
const attempts = 4
const firstDelayMs = 250

/** Hears why spans are lost. */
export type Complain = (reason: string, spans: number) => void

/**
 * Sends spans to a collector, some at a time, in the background. When the collector is slow or away
 * what is too much is dropped: tracing never holds up what it traces.
 */
export class OtlpExporter implements AsyncDisposable {
  readonly #settings: OtlpSettings
  readonly #complain: Complain
  #queue: SpanData[] = []
  #sending: Promise<void> = Promise.resolve()
  #timer: NodeJS.Timeout | undefined
  #dropped = 0
  readonly #stop = new AbortController()

  constructor(settings: OtlpSettings, complain: Complain) {
    this.#settings = settings
    this.#complain = complain
  }

  add(span: SpanData): void {
    const { maxBatch, maxSpans, delayMs } = this.#settings.queue
    if (this.#queue.length >= maxSpans) {
      this.#dropped++
      return
    }
    this.#queue.push(span)
    if (this.#queue.length >= maxBatch) this.#flush()
    else this.#timer ??= setTimeout(() => this.#flush(), delayMs).unref()
  }

  /** Sends what there is, within the time that one export may take. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#flush()
    using _late = setTimeout(() => this.#stop.abort(), this.#settings.timeoutMs)
    await this.#sending
  }

  #flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#sending = this.#sending.then(async () => await this.#drain())
  }

  async #drain(): Promise<void> {
    const { maxBatch } = this.#settings.queue
    while (this.#queue.length > 0) {
      const batch = this.#queue.splice(0, maxBatch)
      try {
        await this.#send(batch)
      } catch (err) {
        this.#complain(describe(err), batch.length)
      }
    }
    if (this.#dropped > 0) this.#complain('the collector is too slow', this.#dropped)
    this.#dropped = 0
  }

  async #send(batch: readonly SpanData[]): Promise<void> {
    const { encoding, gzip, resource } = this.#settings
    const plain =
      encoding === 'json'
        ? Buffer.from(encodeJson(batch, resource))
        : encodeProtobuf(batch, resource)
    const body = gzip ? gzipSync(plain) : plain
    for (let attempt = 1; ; attempt++) {
      const problem = await this.#post(body).catch((err: unknown) => describe(err))
      if (problem === undefined) return
      const last = attempt === attempts || this.#stop.signal.aborted
      if (last || (typeof problem === 'number' && !later.includes(problem))) {
        throw new Error(typeof problem === 'number' ? `status ${problem}` : problem)
      }
      const { signal } = this.#stop
      await sleep(firstDelayMs * 2 ** attempt, undefined, { signal, ref: false }).catch(() => {})
    }
  }

  /** Gives a status that is not success. @throws what keeps the request from being answered. */
  async #post(body: Uint8Array): Promise<number | undefined> {
    const { url, encoding, gzip, headers, timeoutMs, tls } = this.#settings
    const { promise, resolve, reject } = Promise.withResolvers<number | undefined>()
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest
    const outgoing = send(url, {
      method: 'POST',
      signal: AbortSignal.any([this.#stop.signal, AbortSignal.timeout(timeoutMs)]),
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
      response.on('end', () => resolve(statusCode < 300 ? undefined : statusCode))
    })
    outgoing.end(body)
    return await promise
  }
}
