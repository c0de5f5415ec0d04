import {
  type Attributes,
  type Exception,
  type Span,
  type SpanContext,
  type SpanStatus,
  SpanStatusCode,
  type TimeInput,
} from '@opentelemetry/api'

import { now, type SpanData, type SpanEvent, toNs } from './span-data.ts'

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/** What a span starts with. */
export type SpanStart = Pick<SpanData, 'context' | 'parent' | 'name' | 'kind' | 'start' | 'scope'>

/** A span of the OpenTelemetry API that tells what it was when it ends. */
export class RecordingSpan implements Span {
  readonly #data: Mutable<SpanData>
  readonly #attributes = new Map<string, unknown>()
  readonly #events: SpanEvent[] = []
  readonly #onEnd: (span: SpanData) => void
  #ended = false

  constructor(start: SpanStart, onEnd: (span: SpanData) => void) {
    const own = { attributes: this.#attributes, events: this.#events }
    this.#data = { ...start, ...own, end: start.start, status: { code: 0 } }
    this.#onEnd = onEnd
  }

  spanContext(): SpanContext {
    return this.#data.context
  }

  setAttribute(key: string, value: unknown): this {
    if (value !== undefined && !this.#ended) this.#attributes.set(key, value)
    return this
  }

  setAttributes(attributes: Attributes): this {
    for (const [key, value] of Object.entries(attributes)) this.setAttribute(key, value)
    return this
  }

  addEvent(name: string, given?: Attributes | TimeInput, time?: TimeInput): this {
    const isTime = typeof given === 'number' || given instanceof Date || Array.isArray(given)
    const attributes = new Map<string, unknown>()
    if (given !== undefined && !isTime) {
      for (const [key, value] of Object.entries(given)) {
        if (value !== undefined) attributes.set(key, value)
      }
    }
    this.#events.push({ name, time: toNs(isTime ? given : time), attributes })
    return this
  }

  /** Links are not exported. */
  addLink(): this {
    return this
  }

  /** Links are not exported. */
  addLinks(): this {
    return this
  }

  setStatus(status: SpanStatus): this {
    if (!this.#ended) this.#data.status = status
    return this
  }

  updateName(name: string): this {
    if (!this.#ended) this.#data.name = name
    return this
  }

  recordException(exception: Exception, time?: TimeInput): void {
    const { message, name } = typeof exception === 'string' ? { message: exception } : exception
    const type = name ? { 'exception.type': name } : {}
    this.addEvent('exception', { 'exception.message': message ?? '', ...type }, time)
    this.setStatus({ code: SpanStatusCode.ERROR, message: message ?? '' })
  }

  end(time?: TimeInput): void {
    if (this.#ended) return
    this.#ended = true
    this.#data.end = time === undefined ? now() : toNs(time)
    this.#onEnd(this.#data)
  }

  isRecording(): boolean {
    return !this.#ended
  }
}
