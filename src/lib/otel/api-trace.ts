import {
  type Context,
  createTraceState,
  ROOT_CONTEXT,
  type Span as ApiSpan,
  SpanKind,
  SpanStatusCode,
  trace,
  type Tracer,
} from '@opentelemetry/api'

import { describe } from '#lib/errors/errors.ts'
import type { Attributes, Span, SpanOptions, Trace } from '#lib/trace/trace.ts'
import { formatTraceParent, parseTraceParent } from '#lib/trace/trace-parent.ts'

const kinds = { server: SpanKind.SERVER, client: SpanKind.CLIENT } as const

/** Spans made by a tracer of the OpenTelemetry API, whoever provides it. */
export class ApiTrace implements Trace {
  readonly #tracer: Tracer
  readonly #within: Context

  constructor(tracer: Tracer, within: Context = ROOT_CONTEXT) {
    this.#tracer = tracer
    this.#within = within
  }

  begin(name: string, options: SpanOptions = {}): Span {
    const { kind, attributes = {}, startTime, caller } = options
    const parent = caller ? withCaller(this.#within, caller) : this.#within
    const span = this.#tracer.startSpan(
      name,
      {
        kind: kind === undefined ? SpanKind.INTERNAL : kinds[kind],
        attributes: { ...attributes },
        ...(startTime === undefined ? {} : { startTime }),
      },
      parent,
    )
    return new ApiSpanTrace(this.#tracer, trace.setSpan(parent, span), span)
  }

  get headers(): Readonly<Record<string, string>> {
    const span = trace.getSpanContext(this.#within)
    if (!span) return {}
    const state = span.traceState?.serialize()
    const traceparent = formatTraceParent({ ...span, sampled: (span.traceFlags & 1) === 1 })
    return { traceparent, ...(state ? { tracestate: state } : {}) }
  }
}

class ApiSpanTrace extends ApiTrace implements Span {
  readonly #span: ApiSpan

  constructor(tracer: Tracer, within: Context, span: ApiSpan) {
    super(tracer, within)
    this.#span = span
  }

  get traceId(): string {
    return this.#span.spanContext().traceId
  }

  set(attributes: Attributes): void {
    this.#span.setAttributes(attributes)
  }

  end(error?: unknown, time?: number): void {
    if (error !== undefined) {
      this.#span.setStatus({ code: SpanStatusCode.ERROR, message: describe(error) })
    }
    this.#span.end(time)
  }
}

function withCaller(within: Context, metadata: ReadonlyMap<string, string>): Context {
  const parent = parseTraceParent(metadata.get('traceparent'))
  if (!parent) return within
  const { traceId, spanId, sampled } = parent
  const state = metadata.get('tracestate')
  return trace.setSpanContext(within, {
    traceId,
    spanId,
    traceFlags: sampled ? 1 : 0,
    isRemote: true,
    ...(state ? { traceState: createTraceState(state) } : {}),
  })
}
