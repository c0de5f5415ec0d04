import {
  type Context,
  context,
  type Span,
  type SpanContext,
  type SpanOptions,
  trace,
  type Tracer,
  type TracerProvider,
} from '@opentelemetry/api'
import { randomBytes } from 'node:crypto'

import { RecordingSpan } from './recording-span.ts'
import type { SamplerSettings } from './settings.ts'
import { type SpanData, toNs } from './span-data.ts'

const sampled = 1

/** A provider of the OpenTelemetry API whose tracers record, and hand over spans that have ended. */
export class Recorder implements TracerProvider {
  readonly #sampler: SamplerSettings
  readonly #onEnd: (span: SpanData) => void

  constructor(sampler: SamplerSettings, onEnd: (span: SpanData) => void) {
    this.#sampler = sampler
    this.#onEnd = onEnd
  }

  getTracer(name: string): Tracer {
    return new RecordingTracer(name, this.#sampler, this.#onEnd)
  }
}

class RecordingTracer implements Tracer {
  readonly #scope: string
  readonly #sampler: SamplerSettings
  readonly #onEnd: (span: SpanData) => void

  constructor(scope: string, sampler: SamplerSettings, onEnd: (span: SpanData) => void) {
    this.#scope = scope
    this.#sampler = sampler
    this.#onEnd = onEnd
  }

  startSpan(name: string, options: SpanOptions = {}, within: Context = context.active()): Span {
    const parent = options.root ? undefined : trace.getSpanContext(within)
    const traceId = parent?.traceId ?? randomId(16)
    const records = isSampled(this.#sampler, traceId, parent)
    const own: SpanContext = {
      traceId,
      spanId: randomId(8),
      traceFlags: records ? sampled : 0,
      ...(parent?.traceState && { traceState: parent.traceState }),
    }
    if (!records) return trace.wrapSpanContext(own)
    const { kind = 0, startTime, attributes = {} } = options
    const start = { parent, name, kind: kind + 1, start: toNs(startTime), scope: this.#scope }
    return new RecordingSpan({ ...start, context: own }, this.#onEnd).setAttributes(attributes)
  }

  startActiveSpan<F extends (span: Span) => unknown>(name: string, fn: F): ReturnType<F>
  startActiveSpan<F extends (span: Span) => unknown>(
    name: string,
    options: SpanOptions,
    fn: F,
  ): ReturnType<F>
  startActiveSpan<F extends (span: Span) => unknown>(
    name: string,
    options: SpanOptions,
    within: Context,
    fn: F,
  ): ReturnType<F>
  startActiveSpan(name: string, ...rest: readonly unknown[]): unknown {
    const fn = rest.at(-1)
    if (typeof fn !== 'function') return undefined
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the overloads above
    const [options, within] = rest.slice(0, -1) as [SpanOptions?, Context?]
    const outer = within ?? context.active()
    const span = this.startSpan(name, options, outer)
    return context.with(trace.setSpan(outer, span), () => fn(span) as unknown)
  }
}

/** Source: OpenTelemetry SDK specification, TraceIdRatioBased and ParentBased. */
function isSampled(sampler: SamplerSettings, traceId: string, parent?: SpanContext): boolean {
  if (parent && sampler.byParent) return (parent.traceFlags & sampled) !== 0
  return Number.parseInt(traceId.slice(-8), 16) < sampler.ratio * 2 ** 32
}

const randomId = (bytes: number): string => randomBytes(bytes).toString('hex')
