import assert from 'node:assert/strict'
import { test } from 'node:test'

import { type Context, withNamespace } from '#core/context.ts'
import { Events } from '#gen/services/events_pb.ts'
import type { Connection } from '#lib/rpc/rpc.ts'
import { EventExchange } from '#plugins/events/exchange.ts'
import { callOptions } from '#proxy/call.ts'
import { follow, followKey, subscribe } from '#proxy/events.ts'
import { newContext } from '#testing/context.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { serve } from '#testing/serve.ts'

import { eventsApi } from './grpc.ts'

const event = { typeUrl: 'containerd.events.NamespaceCreate', value: new Uint8Array() }

/** A subscription that has begun: its first event, which the daemon has sent, is taken off. */
async function subscribed(ctx: Context, connection: Connection, filters: readonly string[] = []) {
  const client = connection.client(Events)
  const events = subscribe(ctx, connection, [...filters, 'topic=="/begin/now"'])[
    Symbol.asyncIterator
  ]()
  const first = events.next()
  const beginning = setInterval(() => {
    client.publish({ topic: '/begin/now', event }, callOptions(ctx)).catch(() => {})
  }, 20)
  await first
  clearInterval(beginning)
  return {
    async next() {
      for (;;) {
        const { value } = await events.next()
        if (value?.topic !== '/begin/now') return value
      }
    },
    end: async () => void (await events.return?.()),
  }
}

test('what one client publishes, another receives', async (t) => {
  const ctx = newContext(t)
  await using served = await serve(ctx, [eventsApi(new EventExchange(ctx))])
  const client = served.connection.client(Events)
  const events = await subscribed(ctx, served.connection, ['topic=="/a/b"'])
  await client.publish({ topic: '/other/topic', event }, callOptions(ctx))
  await client.publish({ topic: '/a/b', event }, callOptions(withNamespace(ctx, 'blue')))
  const got = await events.next()
  assert.deepEqual(
    [got?.topic, got?.namespace, got?.event.typeUrl],
    ['/a/b', 'blue', event.typeUrl],
  )
  await events.end()
})

test('a forwarded event keeps its time and namespace', async (t) => {
  const ctx = newContext(t)
  await using served = await serve(ctx, [eventsApi(new EventExchange(ctx))])
  const client = served.connection.client(Events)
  const events = await subscribed(ctx, served.connection, ['topic=="/a/b"'])
  const timestamp = { seconds: 1_000_000_000n, nanos: 123_456_789 }
  const envelope = { timestamp, namespace: 'red', topic: '/a/b', event }
  await client.forward({ envelope }, callOptions(ctx))
  const got = await events.next()
  assert.deepEqual([got?.namespace, got?.timestamp], ['red', timestamp])
  await events.end()
})

test('a filter, topic or namespace that is none is refused', async (t) => {
  const ctx = newContext(t)
  await using served = await serve(ctx, [eventsApi(new EventExchange(ctx))])
  const client = served.connection.client(Events)
  const bad = subscribe(ctx, served.connection, ['topic=='])
  await assert.rejects(
    Array.fromAsync(bad),
    /failed parsing subscription filters: filters: parse error/,
  )
  await rejectsWith('invalid_argument', client.publish({ topic: 'x', event }, callOptions(ctx)))
  const nowhere = callOptions({ ...ctx, namespace: '' })
  await rejectsWith('failed_precondition', client.publish({ topic: '/a/b', event }, nowhere))
})

test('publishing for nobody fails in upstream’s words, and a forwarded event may lack a time', async (t) => {
  const ctx = newContext(t)
  const exchange = new EventExchange(ctx)
  await using served = await serve(ctx, [eventsApi(exchange)])
  const client = served.connection.client(Events)
  await rejectsWith(
    'failed_precondition',
    client.publish({ topic: '/a/b', event }),
    'failed publishing event: namespace is required: failed precondition',
  )
  await client.forward({ envelope: { namespace: 'red', topic: '/a/b', event } })
})

test('a client that follows gets cursors, gaps with their size, and nothing twice', async (t) => {
  const ctx = newContext(t)
  const exchange = new EventExchange(ctx, { events: 4 })
  await using served = await serve(ctx, [eventsApi(exchange)])
  const reader = follow(ctx, served.connection, 'now')[Symbol.asyncIterator]()
  const begin = (await reader.next()).value
  assert.equal(begin?.kind, 'place')
  for (let n = 1; n <= 20; n++) exchange.publish(ctx, `/n/${n}`, event)
  await reader.return?.()
  const got: unknown[] = []
  const last = { after: begin.cursor }
  for await (const next of follow(ctx, served.connection, last)) {
    got.push(next.kind === 'event' ? next.envelope.topic : next.kind === 'gap' && next.lost)
    if (next.kind === 'event' && next.envelope.topic === '/n/20') break
  }
  const [lost, ...topics] = got
  assert.ok(typeof lost === 'number' && lost >= 12)
  assert.deepEqual(
    topics,
    Array.from({ length: 20 - lost }, (_, i) => `/n/${lost + 1 + i}`),
  )
  await assert.rejects(Array.fromAsync(follow(ctx, served.connection, { after: 'x' })), {
    code: 'invalid_argument',
  })
})

test('a gap of unknown size travels as that', async (t) => {
  const ctx = newContext(t)
  await using served = await serve(ctx, [eventsApi(new EventExchange(ctx))])
  const from = { after: '0123456789abcdef-1' }
  for await (const next of follow(ctx, served.connection, from)) {
    assert.deepEqual([next.kind, next.kind === 'gap' && next.lost], ['gap', undefined])
    break
  }
})

test('who does not ask is not told: messages are those of containerd', async (t) => {
  const ctx = newContext(t)
  const exchange = new EventExchange(ctx)
  await using served = await serve(ctx, [eventsApi(exchange)])
  const first = async (metadata: Record<string, string>) => {
    const { metadata: own, ...options } = callOptions(ctx)
    const stream = served.connection
      .client(Events)
      .subscribe({ filters: [] }, { ...options, metadata: { ...own, ...metadata } })
    const publishing = setInterval(() => exchange.publish(ctx, '/a/b', event), 5)
    try {
      for await (const envelope of stream) return envelope
    } finally {
      clearInterval(publishing)
    }
    return undefined
  }
  const plain = await first({})
  assert.deepEqual([plain?.topic, plain?.cursor, plain?.gap], ['/a/b', '', undefined])
  const asked = await first({ [followKey]: 'oldest' })
  assert.equal(asked?.topic, '')
  assert.match(asked?.cursor ?? '', /^[0-9a-f]{16}-0$/)
})
