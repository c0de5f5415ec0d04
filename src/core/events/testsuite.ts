import assert from 'node:assert/strict'
import { suite, type TestContext, test } from 'node:test'
import { setImmediate as tick } from 'node:timers/promises'

import { type ErrorCode, codeOf } from '#lib/errors/errors.ts'

import type { Context } from '#core/context.ts'
import type { Cursor, Envelope, Exchange, Followed, From } from './events.ts'

/** An exchange that nobody else uses. It keeps eight events at least, and sixteen at most. */
export interface ExchangeBench extends AsyncDisposable {
  readonly exchange: Exchange
  /** Another one, with what this one has kept, as after a kill -9 of its process. */
  readonly reopen?: () => Promise<ExchangeBench>
}

/** The behaviour every exchange owes its callers. */
export function exchangeSuite(
  name: string,
  newContext: (t: TestContext) => Context,
  open: (ctx: Context) => Promise<ExchangeBench>,
): void {
  const check = (title: string, body: Body): void => {
    void test(title, { timeout: 20_000 }, async (t) => {
      const stop = new AbortController()
      const ctx = { ...newContext(t), signal: AbortSignal.any([t.signal, stop.signal]) }
      await using bench = await open(ctx)
      using _ = { [Symbol.dispose]: () => stop.abort() }
      await body(ctx, bench.exchange, bench, t)
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
      const witness = exchange.subscribe(ctx)
      exchange.publish(ctx, '/tasks/exit', payload)
      await take(witness, 1)
      stop.abort()
      exchange.publish(ctx, '/tasks/late', payload)
      assert.deepEqual(
        (await Array.fromAsync(reader)).map((got) => got.topic),
        ['/tasks/exit'],
      )
    })

    check(
      'a subscription that nothing comes to ends with its signal, too',
      async (ctx, exchange) => {
        const stop = new AbortController()
        const waiting = Array.fromAsync(exchange.subscribe({ ...ctx, signal: stop.signal }))
        await tick()
        stop.abort()
        assert.deepEqual(await waiting, [])
        assert.deepEqual(
          await Array.fromAsync(exchange.subscribe({ ...ctx, signal: stop.signal })),
          [],
        )
      },
    )

    check('a reader may leave early and publishing goes on', async (ctx, exchange) => {
      const leaving = exchange.subscribe(ctx)
      const staying = exchange.subscribe(ctx)
      exchange.publish(ctx, '/tasks/start', payload)
      for await (const _ of leaving) break
      exchange.publish(ctx, '/tasks/exit', payload)
      assert.equal((await take(staying, 2)).length, 2)
    })

    check('a subscriber that is too slow is told what it has lost', async (ctx, exchange) => {
      const slow = exchange.subscribe(ctx)
      const quick = exchange.subscribe(ctx)[Symbol.asyncIterator]()
      for (let n = 1; n <= 40; n++) {
        exchange.publish(ctx, `/n/${n}`, payload)
        assert.equal((await quick.next()).value?.topic, `/n/${n}`)
      }
      const err = await take(slow, 1).catch((thrown: unknown) => thrown)
      assert.equal(codeOf(err), 'resource_exhausted')
      const { lost, after } =
        /(?<lost>\d+) events .* after (?<after>[0-9a-f-]+)/.exec(String(err))?.groups ?? {}
      const [, next] = await follow(exchange, ctx, { after: after ?? '' }, 2)
      assert.equal(topicOf(next), `/n/${Number(lost) + 1}`)
      assert.ok(Number(lost) >= 40 - 16 && Number(lost) <= 40 - 8, `${lost} lost`)
    })

    followChecks(check)
  })
}

type Body = (ctx: Context, exchange: Exchange, bench: ExchangeBench, t: TestContext) => unknown

function followChecks(check: (title: string, body: Body) => void): void {
  check('a follower learns its place before anything happens', async (ctx, exchange) => {
    const reader = exchange.follow(ctx, 'now')[Symbol.asyncIterator]()
    const place = (await reader.next()).value
    assert.equal(place?.kind, 'place')
    exchange.publish(ctx, '/n/1', payload)
    const [, next] = await follow(exchange, ctx, { after: place.cursor }, 2)
    assert.equal(topicOf(next), '/n/1')
    assert.deepEqual((await reader.next()).value, next)
  })

  check('behind each cursor is what came later, and all of it', async (ctx, exchange) => {
    const all = exchange.follow(ctx, 'now')
    for (let n = 1; n <= 8; n++) exchange.publish(ctx, `/n/${n}`, payload)
    const got = await take(all, 9)
    for (const [i, { cursor }] of got.entries()) {
      const again = await follow(exchange, ctx, { after: cursor }, 9 - i)
      assert.deepEqual(again.slice(1), got.slice(i + 1))
      assert.deepEqual(again[0], { kind: 'place', cursor })
    }
    assert.deepEqual((await follow(exchange, ctx, 'oldest', 9)).slice(1), got.slice(1))
  })

  check('a filter applies to what is kept, too', async (ctx, exchange) => {
    const reader = exchange.follow(ctx, 'now')
    for (let n = 1; n <= 6; n++) exchange.publish(ctx, `/n/${n}`, payload)
    await take(reader, 7)
    const got = await take(exchange.follow(ctx, 'oldest', ['topic=="/n/5"']), 2)
    assert.equal(topicOf(got[1]), '/n/5')
    throwsWith('invalid_argument', () => exchange.follow(ctx, 'now', ['topic==']))
  })

  check('what is kept no longer is a gap, with its size', async (ctx, exchange) => {
    const reader = exchange.follow(ctx, 'now')[Symbol.asyncIterator]()
    const places: Cursor[] = [(await reader.next()).value?.cursor ?? '']
    for (let n = 1; n <= 40; n++) {
      exchange.publish(ctx, `/n/${n}`, payload)
      places.push((await reader.next()).value?.cursor ?? '')
    }
    const [gap, first] = await follow(exchange, ctx, { after: places[3] ?? '' }, 2)
    assert.ok(gap?.kind === 'gap' && gap.lost !== undefined)
    assert.equal(topicOf(first), `/n/${3 + gap.lost + 1}`)
    assert.equal(gap.cursor, places[3 + gap.lost])
    const kept = 40 - 3 - gap.lost
    assert.ok(kept >= 8 && kept <= 16, `${kept} kept`)
  })

  check('a follower that stalls gets a gap, and what comes after it', async (ctx, exchange) => {
    const slow = exchange.follow(ctx, 'now')[Symbol.asyncIterator]()
    const quick = exchange.follow(ctx, 'now')[Symbol.asyncIterator]()
    for (const reader of [slow, quick]) await reader.next()
    for (let n = 1; n <= 40; n++) {
      exchange.publish(ctx, `/n/${n}`, payload)
      await quick.next()
    }
    const gap = (await slow.next()).value
    assert.ok(gap?.kind === 'gap' && gap.lost !== undefined)
    for (let n = gap.lost + 1; n <= 40; n++) {
      assert.equal(topicOf((await slow.next()).value), `/n/${n}`)
    }
  })

  check('a cursor of another log is a gap of unknown size', async (ctx, exchange) => {
    exchange.publish(ctx, '/n/1', payload)
    await follow(exchange, ctx, 'oldest', 2)
    const got = await follow(exchange, ctx, { after: '0123456789abcdef-7' }, 2)
    assert.equal(got[0]?.kind, 'gap')
    assert.equal(got[0]?.kind === 'gap' && got[0].lost, undefined)
    assert.equal(topicOf(got[1]), '/n/1')
    for (const after of ['', '7', '0123456789abcdef', 'x-1']) {
      throwsWith('invalid_argument', () => exchange.follow(ctx, { after }))
    }
  })

  check('one who waits for what does not happen is told where it is', async (ctx, exchange) => {
    const reader = exchange.follow(ctx, 'now', ['topic=="/never/comes"'])[Symbol.asyncIterator]()
    const begin = (await reader.next()).value
    const next = reader.next()
    const quick = exchange.subscribe(ctx)[Symbol.asyncIterator]()
    for (let n = 0; n < 1100; n++) {
      exchange.publish(ctx, '/n/x', payload)
      await quick.next()
      if (n % 4 === 0) await tick()
    }
    const place = (await next).value
    assert.equal(place?.kind, 'place')
    assert.notEqual(place.cursor, begin?.cursor)
  })

  check(
    'another process goes on from where this one was cut off',
    async (ctx, exchange, bench, t) => {
      if (!bench.reopen) return t.skip('nothing outlives this one')
      exchange.publish(ctx, '/n/1', payload)
      const [place, one] = await follow(exchange, ctx, 'oldest', 2)
      for (let n = 2; n <= 6; n++) exchange.publish(ctx, `/n/${n}`, payload)
      const before = await follow(exchange, ctx, { after: one?.cursor ?? '' }, 6)
      await using second = await bench.reopen()
      second.exchange.publish(ctx, '/n/7', payload)
      assert.ok(second.reopen)
      const seven = (await follow(second.exchange, ctx, { after: one?.cursor ?? '' }, 7)).slice(1)
      assert.deepEqual(seven.slice(0, 5), before.slice(1))
      await using third = await second.reopen()
      const eight = follow(third.exchange, ctx, { after: place?.cursor ?? '' }, 9)
      third.exchange.publish(ctx, '/n/8', payload)
      const got = (await eight).slice(1)
      assert.deepEqual(
        got.map(topicOf),
        [1, 2, 3, 4, 5, 6, 7, 8].map((n) => `/n/${n}`),
      )
      assert.deepEqual(got.slice(1, 7), seven)
    },
  )

  check(
    'a cursor that is too old for another process is a gap, too',
    async (ctx, exchange, bench, t) => {
      if (!bench.reopen) return t.skip('nothing outlives this one')
      const [place] = await follow(exchange, ctx, 'now', 1)
      const reader = exchange.subscribe(ctx)
      for (let n = 1; n <= 40; n++) exchange.publish(ctx, `/n/${n}`, payload)
      await take(reader, 1).catch(() => {})
      await follow(exchange, ctx, 'oldest', 9)
      await using second = await bench.reopen()
      const [gap, first] = await follow(second.exchange, ctx, { after: place?.cursor ?? '' }, 2)
      assert.ok(gap?.kind === 'gap' && gap.lost !== undefined && gap.lost >= 24)
      assert.equal(topicOf(first), `/n/${gap.lost + 1}`)
    },
  )
}

const follow = async (
  exchange: Exchange,
  ctx: Context,
  from: From,
  count: number,
): Promise<Followed[]> => await take(exchange.follow(ctx, from), count)

const topicOf = (followed: Followed | undefined): string | undefined =>
  followed?.kind === 'event' ? followed.envelope.topic : undefined

const payload = { typeUrl: 'containerd.events.TaskOOM', value: Uint8Array.of(10, 1, 97) }

const envelope: Envelope = {
  timestamp: { seconds: 1_700_000_000n, nanos: 5 },
  namespace: 'k8s.io',
  topic: '/tasks/oom',
  event: payload,
}

async function take<T>(reader: AsyncIterable<T>, count: number): Promise<T[]> {
  const taken: T[] = []
  for await (const next of reader) {
    taken.push(next)
    if (taken.length === count) break
  }
  return taken
}

function throwsWith(code: ErrorCode, body: () => unknown): void {
  assert.throws(body, (err) => codeOf(err) === code)
}
