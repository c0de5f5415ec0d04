import type { SpanData } from './span-data.ts'

/*
 * OTLP as JSON, which is protobuf's JSON but for the ids, which are in hex. `otlp-protobuf.ts` has
 * the same in bytes, and the drawing.
 */

/** The body of an export, as JSON text. */
export const encodeJson = (
  spans: readonly SpanData[],
  resource: Readonly<Record<string, string>>,
): string =>
  JSON.stringify({
    resourceSpans: [
      {
        resource: { attributes: toPairs(Object.entries(resource)) },
        scopeSpans: [...Map.groupBy(spans, (span) => span.scope)].map(([name, group]) => ({
          scope: { name },
          spans: group.map(toSpan),
        })),
      },
    ],
  })

const toSpan = (span: SpanData): object => ({
  traceId: span.context.traceId,
  spanId: span.context.spanId,
  traceState: span.context.traceState?.serialize(),
  parentSpanId: span.parent?.spanId,
  name: span.name,
  kind: span.kind,
  startTimeUnixNano: String(span.start),
  endTimeUnixNano: String(span.end),
  attributes: toPairs(span.attributes),
  events: span.events.map(({ name, time, attributes }) => ({
    name,
    timeUnixNano: String(time),
    attributes: toPairs(attributes),
  })),
  status: span.status,
})

const toPairs = (pairs: Iterable<readonly [string, unknown]>): object[] =>
  Array.from(pairs, ([key, value]) => ({ key, value: toAny(value) }))

function toAny(value: unknown): object {
  if (typeof value === 'string') return { stringValue: value }
  if (typeof value === 'boolean') return { boolValue: value }
  if (Number.isSafeInteger(value)) return { intValue: String(value) }
  if (typeof value === 'number') return { doubleValue: value }
  return { arrayValue: { values: Array.isArray(value) ? value.map(toAny) : [] } }
}
