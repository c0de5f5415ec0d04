import { setTimeout as sleep } from 'node:timers/promises'

import { describe } from '#lib/errors/errors.ts'

import { encodeJson } from './otlp-json.ts'
import { encodeProtobuf } from './otlp-protobuf.ts'
import type { Refusal, Sender } from './sender.ts'
import type { OtlpSettings } from './settings.ts'
import type { SpanData } from './span-data.ts'

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
  readonly #sender: Sender
  readonly #complain: Complain
  #queue: SpanData[] = []
  #sending: Promise<void> = Promise.resolve()
  #timer: NodeJS.Timeout | undefined
  #dropped = 0
  readonly #stop = new AbortController()

  /** `sender` is disposed with this. */
  constructor(settings: OtlpSettings, sender: Sender, complain: Complain) {
    this.#settings = settings
    this.#sender = sender
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
    await this.#sender[Symbol.asyncDispose]()
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
    const { encoding, resource } = this.#settings
    const body =
      encoding === 'json'
        ? Buffer.from(encodeJson(batch, resource))
        : encodeProtobuf(batch, resource)
    for (let attempt = 1; ; attempt++) {
      const refusal = await this.#try(body)
      if (refusal === undefined) return
      const isLast = attempt === attempts || this.#stop.signal.aborted
      if (isLast || !refusal.isTemporary) throw new Error(refusal.reason)
      const { signal } = this.#stop
      await sleep(firstDelayMs * 2 ** attempt, undefined, { signal, ref: false }).catch(() => {})
    }
  }

  async #try(body: Uint8Array): Promise<Refusal | undefined> {
    const timeout = AbortSignal.timeout(this.#settings.timeoutMs)
    try {
      return await this.#sender.send(body, AbortSignal.any([this.#stop.signal, timeout]))
    } catch (err) {
      return { reason: describe(err), isTemporary: true }
    }
  }
}
