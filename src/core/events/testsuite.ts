import assert from 'node:assert/strict'
import { suite, type TestContext, test } from 'node:test'
import { setImmediate as tick } from 'node:timers/promises'

import { type ErrorCode, codeOf } from '#lib/errors/errors.ts'

import type { Context } from '#core/context.ts'
import type { Envelope, Exchange } from './events.ts'

/** The behaviour every exchange owes its callers. `open` makes one that nobody else uses. */
export function exchangeSuite(
  name: string,
  newContext: (t: TestContext) => Context,
  open: () => Exchange,
): void {
  const check = (title: string, body: (ctx: Context, exchange: Exchange) => unknown): void => {
    void test(title, async (t) => {
      const stop = new AbortController()
      const signal = AbortSignal.any([t.signal, stop.signal])
      try {
        await body({ ...newContext(t), signal }, open())
      } finally {
        stop.abort()
      }
    })
  }

  void suite(`${name} exchange`, () => {
    check('every subscriber gets every event, in order', async (ctx, exchange) => {
      const readers = [exchange.subscribe(ctx), exchange.subscribe(ctx)]
      const topics = ['/tasks/create', '/tasks/start', '/tasks/exit']
      for (const topic of topics) exchange.publish(ctx, topic, payload)
      for (const reader of readers) {
        assert.deepEqual(
          (await take(reader, 3)).map((got) => got.topic),
          topics,
        )
      }
    })

    check('a subscription begins with the call, not with the first read', async (ctx, exchange) => {
      exchange.publish(ctx, '/tasks/before', payload)
      const reader = exchange.subscribe(ctx)
      exchange.publish(ctx, '/tasks/after', payload)
      await tick()
      const [first] = await take(reader, 1)
      assert.equal(first?.topic, '/tasks/after')
    })

    check('an event carries who, what and when', async (ctx, exchange) => {
      const reader = exchange.subscribe(ctx)
      exchange.publish({ ...ctx, namespace: 'other' }, '/tasks/exit', payload)
      const [got] = await take(reader, 1)
      assert.equal(got?.namespace, 'other')
      assert.deepEqual(got?.event, payload)
      assert.ok((got?.timestamp.seconds ?? 0n) > 1_600_000_000n)
    })

    check('a forwarded event arrives as it was', async (ctx, exchange) => {
      const reader = exchange.subscribe(ctx)
      exchange.forward(ctx, envelope)
      assert.deepEqual(await take(reader, 1), [envelope])
    })

    check('a filter chooses, and several mean any of them', async (ctx, exchange) => {
      const reader = exchange.subscribe(ctx, ['topic=="/tasks/exit"', 'namespace==other'])
      exchange.publish(ctx, '/tasks/start', payload)
      exchange.publish(ctx, '/tasks/exit', payload)
      exchange.publish({ ...ctx, namespace: 'other' }, '/tasks/start', payload)
      const got = await take(reader, 2)
      assert.deepEqual(
        got.map((one) => one.topic),
        ['/tasks/exit', '/tasks/start'],
      )
    })

    check('a filter that does not parse is refused at once', (ctx, exchange) => {
      throwsWith('invalid_argument', () => exchange.subscribe(ctx, ['topic==']))
    })

    check('a bad topic is refused', (ctx, exchange) => {
      for (const topic of ['', '/', 'tasks', '/tasks/', '/tasks//exit', '/tasks/?']) {
        throwsWith('invalid_argument', () => exchange.publish(ctx, topic, payload))
        throwsWith('invalid_argument', () => exchange.forward(ctx, { ...envelope, topic }))
      }
    })

    check('publishing needs a namespace', (ctx, exchange) => {
      const { namespace: _, ...nobody } = ctx
      throwsWith('failed_precondition', () => exchange.publish(nobody, '/tasks/exit', payload))
    })

    check('forwarding needs a namespace and a time', (ctx, exchange) => {
      const namespace = 'not a name'
      throwsWith('invalid_argument', () => exchange.forward(ctx, { ...envelope, namespace }))
      // Go's zero time; the epoch is a time.
      const timestamp = { seconds: -62_135_596_800n, nanos: 0 }
      throwsWith('invalid_argument', () => exchange.forward(ctx, { ...envelope, timestamp }))
    })

    check('a subscription ends with its signal', async (ctx, exchange) => {
      const stop = new AbortController()
      const reader = exchange.subscribe({ ...ctx, signal: stop.signal })
      const reading = Array.fromAsync(reader)
      exchange.publish(ctx, '/tasks/exit', payload)
      await tick()
      stop.abort()
      exchange.publish(ctx, '/tasks/late', payload)
      assert.deepEqual(
        (await reading).map((got) => got.topic),
        ['/tasks/exit'],
      )
    })

    check('a reader may leave early and publishing goes on', async (ctx, exchange) => {
      const leaving = exchange.subscribe(ctx)
      const staying = exchange.subscribe(ctx)
      exchange.publish(ctx, '/tasks/start', payload)
      for await (const _ of leaving) break
      exchange.publish(ctx, '/tasks/exit', payload)
      assert.equal((await take(staying, 2)).length, 2)
    })
  })
}

const payload = { typeUrl: 'containerd.events.TaskOOM', value: Uint8Array.of(10, 1, 97) }

const envelope: Envelope = {
  timestamp: { seconds: 1_700_000_000n, nanos: 5 },
  namespace: 'k8s.io',
  topic: '/tasks/oom',
  event: payload,
}

async function take(reader: AsyncIterable<Envelope>, count: number): Promise<Envelope[]> {
  const taken: Envelope[] = []
  for await (const next of reader) {
    taken.push(next)
    if (taken.length === count) break
  }
  return taken
}

function throwsWith(code: ErrorCode, body: () => unknown): void {
  assert.throws(body, (err) => codeOf(err) === code)
}
