import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import { promisify } from 'node:util'
import { gunzipSync } from 'node:zlib'

import { BinaryReader, WireType } from '@bufbuild/protobuf/wire'
import {
  type sendUnaryData,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  status,
} from '@grpc/grpc-js'
import { context, trace } from '@opentelemetry/api'

import { type Collector, startCollector } from '#testing/collector.ts'

import { ApiTrace } from './api-trace.ts'
import { openTracing } from './tracing.ts'

const options = { service: 'test', version: '1', complain: () => {} }
const endpointOf = ({ endpoint }: Collector) => ({ OTEL_EXPORTER_OTLP_ENDPOINT: endpoint })

suite('what a collector is sent', () => {
  let collector: Collector
  before(async () => (collector = await startCollector()))
  after(async () => await collector[Symbol.asyncDispose]())

  test('in JSON: names, kinds, times, attributes and errors of spans', async () => {
    const json = { OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' }
    const from = BigInt(Date.now()) * 1_000_000n
    {
      await using tracing = await openTracing({ ...endpointOf(collector), ...json }, options)
      const outer = tracing?.trace.begin('outer', { kind: 'server', attributes: { a: 1, b: 'x' } })
      outer?.begin('inner').end(new Error('went wrong'))
      outer?.end()
    }
    const [inner, outer] = collector.spans
    assert.deepEqual([inner?.name, inner?.kind, inner?.status.code], ['inner', 1, 2])
    assert.deepEqual([outer?.name, outer?.kind, outer?.status.code], ['outer', 2, 0])
    assert.equal(inner?.parentSpanId, outer?.spanId)
    assert.match(outer?.traceId ?? '', /^[0-9a-f]{32}$/)
    assert.ok(BigInt(outer?.startTimeUnixNano ?? 0) >= from - 1_000_000n)
    assert.ok(BigInt(outer?.endTimeUnixNano ?? 0) >= BigInt(inner?.endTimeUnixNano ?? 1))
    const body = String(collector.requests.at(-1)?.body)
    assert.ok(body.includes('{"key":"a","value":{"intValue":"1"}}'), body)
  })

  test('in protobuf, compressed, with headers', async () => {
    const env = { OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip', OTEL_EXPORTER_OTLP_HEADERS: 'x-key=k' }
    {
      await using tracing = await openTracing({ ...endpointOf(collector), ...env }, options)
      tracing?.trace.begin('one', { attributes: { yes: true } }).end()
    }
    const { headers, body } = collector.requests.at(-1) ?? assert.fail()
    assert.equal(headers['content-type'], 'application/x-protobuf')
    assert.equal(headers['x-key'], 'k')
    const [resourceSpans] = fieldsOf(gunzipSync(body))
    const [resource, scopeSpans] = fieldsOf(resourceSpans)
    assert.ok(fieldsOf(resource).some((pair) => String(fieldsOf(pair)[0]) === 'service.name'))
    const [scope, span] = fieldsOf(scopeSpans)
    assert.equal(String(fieldsOf(scope)[0]), 'wharf')
    const [traceId, spanId, name] = fieldsOf(span)
    assert.deepEqual([traceId?.length, spanId?.length, String(name)], [16, 8, 'one'])
  })

  test('spans of others that use the API are sent too', async () => {
    const json = { OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' }
    {
      await using _tracing = await openTracing({ ...endpointOf(collector), ...json }, options)
      trace.getTracer('plugin').startActiveSpan('of a plugin', (span) => span.end())
    }
    assert.equal(collector.spans.at(-1)?.name, 'of a plugin')
    assert.ok(!trace.getTracer('plugin').startSpan('x', {}, context.active()).isRecording())
  })

  test('nothing of a trace that the caller does not record', async () => {
    const sent = collector.requests.length
    {
      await using tracing = await openTracing(endpointOf(collector), options)
      const caller = new Map([['traceparent', `00-${'a'.repeat(32)}-${'b'.repeat(16)}-00`]])
      const span = tracing?.trace.begin('unseen', { caller })
      assert.match(span?.headers['traceparent'] ?? '', /^00-a{32}-[0-9a-f]{16}-00$/)
      span?.begin('unseen too').end()
      span?.end()
    }
    assert.equal(collector.requests.length, sent)
  })
})

test('an export that is told to come later is sent again, one that is refused is not', async () => {
  const lost: [string, number][] = []
  const complain = (reason: string, spans: number): void => void lost.push([reason, spans])
  await using collector = await startCollector([503, 200, 400])
  const env = { ...endpointOf(collector), OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' }
  for (const name of ['first', 'second']) {
    await using tracing = await openTracing(env, { ...options, complain })
    tracing?.trace.begin(name).end()
  }
  assert.deepEqual(
    collector.spans.map(({ name }) => name),
    ['first'],
  )
  assert.equal(collector.requests.length, 3)
  assert.deepEqual(lost, [['status 400', 1]])
})

test('over gRPC a collector gets the same, again if it says so', async () => {
  const got: { readonly key: unknown; readonly body: Buffer }[] = []
  const answers = [status.UNAVAILABLE, status.OK, status.INVALID_ARGUMENT]
  const server = new Server()
  const bytes = (value: Buffer): Buffer => value
  server.addService(
    {
      export: {
        path: '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
        requestStream: false,
        responseStream: false,
        requestSerialize: bytes,
        requestDeserialize: bytes,
        responseSerialize: bytes,
        responseDeserialize: bytes,
      },
    },
    {
      export(call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) {
        got.push({ key: call.metadata.get('x-key')[0], body: call.request })
        const code = answers[got.length - 1] ?? status.OK
        if (code === status.OK) callback(null, Buffer.alloc(0))
        else callback({ code, details: 'no' })
      },
    },
  )
  const port = await promisify(server.bindAsync.bind(server))(
    '127.0.0.1:0',
    ServerCredentials.createInsecure(),
  )
  const lost: [string, number][] = []
  const complain = (reason: string, spans: number): void => void lost.push([reason, spans])
  const env = {
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
    OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
    OTEL_EXPORTER_OTLP_HEADERS: 'x-key=k',
  }
  try {
    for (const name of ['first', 'second']) {
      await using tracing = await openTracing(env, { ...options, complain })
      tracing?.trace.begin(name).end()
    }
    assert.deepEqual(
      got.map(({ key, body }) => [key, /first|second/.exec(String(body))?.[0]]),
      [
        ['k', 'first'],
        ['k', 'first'],
        ['k', 'second'],
      ],
    )
    assert.deepEqual(lost, [['invalid_argument: no', 1]])
  } finally {
    server.forceShutdown()
  }
})

test('without a trace nothing is opened', async () => {
  assert.equal(await openTracing({}, options), undefined)
  assert.deepEqual(new ApiTrace(trace.getTracer('none')).headers, {})
})

/** The values of fields with a length, in order. */
function fieldsOf(message: Uint8Array = new Uint8Array()): Uint8Array[] {
  const reader = new BinaryReader(message)
  const values: Uint8Array[] = []
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag()
    if (wire === WireType.LengthDelimited) values.push(Buffer.from(reader.bytes()))
    else reader.skip(wire, field)
  }
  return values
}
