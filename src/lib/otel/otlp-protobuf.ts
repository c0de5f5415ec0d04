import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire'

import type { SpanData, SpanEvent } from './span-data.ts'

/*
 * The body of an export, `ExportTraceServiceRequest` of OTLP 1.x:
 *
 *     1 resource_spans
 *       1 resource                1 attributes
 *       2 scope_spans
 *         1 scope                 1 name
 *         2 spans                 1 trace_id  2 span_id  3 trace_state  4 parent_span_id  5 name
 *                                 6 kind  7 start ns (fixed64)  8 end ns  9 attributes
 *           11 events             1 time ns  2 name  3 attributes
 *           15 status             2 message  3 code
 *     attribute                   1 key  2 value: 1 string  2 bool  3 int  4 double  5 array (1)
 */

type Fill = (writer: BinaryWriter) => void

/** The body of an export, in protobuf's binary form. */
export function encodeProtobuf(
  spans: readonly SpanData[],
  resource: Readonly<Record<string, string>>,
): Uint8Array {
  const writer = new BinaryWriter()
  message(writer, 1, (resourceSpans) => {
    message(resourceSpans, 1, (one) => attributes(one, 1, Object.entries(resource)))
    for (const [name, group] of Map.groupBy(spans, ({ scope }) => scope)) {
      message(resourceSpans, 2, (scopeSpans) => {
        message(scopeSpans, 1, (one) => text(one, 1, name))
        for (const each of group) message(scopeSpans, 2, (one) => span(one, each))
      })
    }
  })
  return writer.finish()
}

function span(to: BinaryWriter, { context, parent, ...data }: SpanData): void {
  id(to, 1, context.traceId)
  id(to, 2, context.spanId)
  text(to, 3, context.traceState?.serialize() ?? '')
  if (parent) id(to, 4, parent.spanId)
  text(to, 5, data.name)
  to.tag(6, WireType.Varint).int32(data.kind)
  to.tag(7, WireType.Bit64).fixed64(data.start)
  to.tag(8, WireType.Bit64).fixed64(data.end)
  attributes(to, 9, data.attributes)
  for (const each of data.events) message(to, 11, (one) => event(one, each))
  const { code, message: why = '' } = data.status
  message(to, 15, (status) => {
    text(status, 2, why)
    status.tag(3, WireType.Varint).int32(code)
  })
}

function event(to: BinaryWriter, { time, name, attributes: pairs }: SpanEvent): void {
  to.tag(1, WireType.Bit64).fixed64(time)
  text(to, 2, name)
  attributes(to, 3, pairs)
}

function attributes(
  to: BinaryWriter,
  field: number,
  pairs: Iterable<readonly [string, unknown]>,
): void {
  for (const [key, value] of pairs) {
    message(to, field, (pair) => {
      text(pair, 1, key)
      message(pair, 2, (any) => anyValue(any, value))
    })
  }
}

function anyValue(to: BinaryWriter, value: unknown): void {
  if (typeof value === 'string') to.tag(1, WireType.LengthDelimited).string(value)
  else if (typeof value === 'boolean') to.tag(2, WireType.Varint).bool(value)
  else if (typeof value === 'number' && Number.isSafeInteger(value)) {
    to.tag(3, WireType.Varint).int64(value)
  } else if (typeof value === 'number') to.tag(4, WireType.Bit64).double(value)
  else if (Array.isArray(value)) {
    message(to, 5, (array) => {
      for (const item of value) message(array, 1, (any) => anyValue(any, item))
    })
  }
}

function message(to: BinaryWriter, field: number, fill: Fill): void {
  to.tag(field, WireType.LengthDelimited).fork()
  fill(to)
  to.join()
}

function text(to: BinaryWriter, field: number, value: string): void {
  if (value !== '') to.tag(field, WireType.LengthDelimited).string(value)
}

const id = (to: BinaryWriter, field: number, hex: string): void =>
  void to.tag(field, WireType.LengthDelimited).bytes(Buffer.from(hex, 'hex'))
