import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { silent } from '#core/context.ts'
import { Content } from '#gen/services/content_pb.ts'
import { Images } from '#gen/services/images_pb.ts'
import { notFound } from '#lib/errors/errors.ts'
import { connectGrpc } from '#lib/grpc/client.ts'
import { listenGrpc } from '#lib/grpc/server.ts'
import { MetricSet } from '#lib/metrics/metrics.ts'
import { implement } from '#lib/rpc/rpc.ts'
import type { RpcContext } from '#plugins/types.ts'
import { contextOf } from '#proxy/headers.ts'

import { GrpcMetrics } from './grpc-prometheus.ts'

const services = [
  implement<RpcContext, typeof Images>(Images, {
    get: () => ({}),
    delete: () => {
      throw notFound('x')
    },
  }),
  implement<RpcContext, typeof Content>(Content, {
    async *write(requests) {
      for await (const _ of requests) yield {}
    },
    async *read() {
      for (;;) yield await Promise.resolve({ data: Buffer.alloc(1000) })
    },
  }),
]

/** Everything above zero, as `family method code type value`. */
const above = (set: MetricSet): string[] =>
  set.families().flatMap((family) => {
    const { name, type } = family
    if (type === 'histogram') return []
    return [...family.samples()]
      .filter(({ value }) => value > 0)
      .map(({ labels: { grpc_method: method, grpc_code: code = '', grpc_type: kind }, value }) =>
        [name.replace(/^grpc_server_|_total$/g, ''), method, code, kind, value].join(' '),
      )
  })

test('calls and messages of every kind are counted', async () => {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'metrics-'))
  const set = new MetricSet()
  await using metrics = new GrpcMetrics(set, true)
  metrics.serves(services)
  {
    await using _server = await listenGrpc<RpcContext>(
      { path: join(dir.path, 's') },
      {
        services,
        context: (call) => contextOf(call, silent),
        interceptors: [metrics.interceptor],
      },
    )
    await using connection = await connectGrpc(join(dir.path, 's'))
    await connection.client(Images).get({})
    await assert.rejects(connection.client(Images).delete({}))
    async function* requests() {
      yield* await Promise.resolve([{}, {}, {}])
    }
    for await (const _ of connection.client(Content).write(requests())) continue
    for await (const _ of connection.client(Content).read({})) break
  }
  for (let i = 0; i < 50 && !above(set).some((l) => l.includes('Canceled')); i++) await sleep(20)
  const counted = above(set)
  for (const line of [
    'started Get  unary 1',
    'handled Get OK unary 1',
    'received Get  unary 1',
    'handled Delete NotFound unary 1',
    'received Write  bidi_stream 3',
    'sent Write  bidi_stream 3',
    'handled Write OK bidi_stream 1',
    'received Read  server_stream 1',
    'handled Read Canceled server_stream 1',
  ]) {
    assert.ok(
      counted.includes(line.replace(/^(received|sent)/, 'msg_$1')),
      `${line}\n${counted.join('\n')}`,
    )
  }
  assert.ok(!counted.some((line) => line.startsWith('msg_sent Delete')))
})

test('methods that nobody has called are there with zeros, and durations only if asked for', async () => {
  const set = new MetricSet()
  {
    await using metrics = new GrpcMetrics(set, false)
    metrics.serves(services)
    const [started, handled] = set.families()
    const methods = Images.methods.length + Content.methods.length
    assert.equal([...(started?.samples() ?? [])].length, methods)
    assert.equal([...(handled?.samples() ?? [])].length, methods * 17)
    const durations = set.families().find(({ type }) => type === 'histogram')
    assert.deepEqual([...(durations?.samples() ?? [])], [])
  }
  assert.deepEqual(set.families(), [])
})
