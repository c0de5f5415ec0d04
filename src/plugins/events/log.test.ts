import assert from 'node:assert/strict'
import {
  mkdir,
  mkdtempDisposable,
  readFile,
  readdir,
  rmdir,
  stat,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'

import { assert as check, integer, property } from 'fast-check'

import type { Context } from '#core/context.ts'
import type { Followed, From } from '#core/events/events.ts'
import { newContext, recordingLogger } from '#testing/context.ts'

import { EventExchange } from './exchange.ts'
import { eventRecord, lifeRecord, magic, scan } from './log-format.ts'

const payload = { typeUrl: 'a.B', value: Uint8Array.of(1, 2, 3) }

const record = (n: number): Uint8Array =>
  eventRecord({
    timestamp: { seconds: 1_700_000_000n, nanos: n },
    namespace: 'red',
    topic: `/n/${n}`,
    event: payload,
  })

const life = { id: '0123456789abcdef', first: 5 }
const whole = Buffer.concat([magic, lifeRecord(life), record(5), record(6), record(7)])

test('a file is read up to the record that is torn', () => {
  const ends = [5, 6, 7].map(
    (_, i) => magic.length + lifeRecord(life).length + (i + 1) * record(5).length,
  )
  check(
    property(integer({ min: 0, max: whole.length }), (cut) => {
      const found = scan(whole.subarray(0, cut))
      const events = ends.filter((end) => end <= cut).length
      if (found) assert.deepEqual([found.events.length, found.first], [events, 5])
      else assert.equal(events, 0)
    }),
  )
})

test('a record with one wrong bit ends the file', () => {
  check(
    property(integer({ min: magic.length, max: whole.length - 1 }), (at) => {
      const broken = Buffer.from(whole)
      broken[at] = (broken[at] ?? 0) ^ 4
      assert.ok((scan(broken)?.length ?? 0) <= at)
    }),
  )
  assert.equal(scan(Buffer.from('something else entirely')), undefined)
})

test('what is before a break in the numbers is left out', () => {
  const later = lifeRecord({ id: 'fedcba9876543210', first: 9 })
  const found = scan(Buffer.concat([whole, later, record(9)]))
  assert.deepEqual([found?.first, found?.events.length, found?.lives.length], [9, 1, 1])
})

interface Given {
  readonly ctx: Context
  readonly dir: string
  readonly logged: string[]
  readonly open: () => EventExchange
}

async function withDir(t: TestContext, body: (given: Given) => Promise<void>): Promise<void> {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'events-'))
  const logged: string[] = []
  const ctx = { ...newContext(t), log: recordingLogger(logged) }
  const open = (): EventExchange => new EventExchange(ctx, { dir: dir.path, events: 4 })
  await body({ ctx, dir: dir.path, logged, open })
}

async function publish({ ctx }: Given, exchange: EventExchange, ...ns: number[]): Promise<void> {
  const reader = exchange.subscribe(ctx)[Symbol.asyncIterator]()
  for (const n of ns) {
    exchange.publish(ctx, `/n/${n}`, payload)
    assert.equal((await reader.next()).value?.topic, `/n/${n}`)
  }
  await reader.return?.()
}

/** The first things that come from `from` on, as their topics, or what else they are. */
async function told({ ctx }: Given, exchange: EventExchange, from: From, count: number) {
  const got: Followed[] = []
  for await (const next of exchange.follow(ctx, from)) if (got.push(next) === count) break
  return got.map((next) => (next.kind === 'event' ? next.envelope.topic : next.kind))
}

test('the log on disk is two files of as many events as are to be kept', async (t) => {
  await withDir(t, async (given) => {
    const { ctx, dir, open } = given
    await using exchange = open()
    const names = new Set<string>()
    for (let n = 1; n <= 40; n++) {
      await publish(given, exchange, n)
      for (const name of await readdir(dir)) names.add(name)
    }
    assert.deepEqual([...names].toSorted(), ['events.log', 'events.log.1'])
    const files = await Promise.all([...names].map(async (name) => await readFile(join(dir, name))))
    assert.deepEqual(
      files.map((file) => scan(file)?.events.length),
      [4, 4],
    )
    assert.equal((await stat(join(dir, 'events.log'))).mode & 0o777, 0o600)
    assert.equal(ctx.signal.aborted, false)
  })
})

test('a torn end is cut off, and what comes is appended behind it', async (t) => {
  await withDir(t, async (given) => {
    const { dir, open } = given
    {
      await using exchange = open()
      await publish(given, exchange, 1, 2, 3)
    }
    const path = join(dir, 'events.log')
    const file = await readFile(path)
    await writeFile(path, file.subarray(0, file.length - 3))
    {
      await using exchange = open()
      await publish(given, exchange, 4)
      const topics = await told(given, exchange, 'oldest', 4)
      assert.deepEqual(topics, ['place', '/n/1', '/n/2', '/n/4'])
    }
    await using again = open()
    assert.deepEqual(await told(given, again, 'oldest', 4), ['place', '/n/1', '/n/2', '/n/4'])
  })
})

test('a cursor of an event that the disk has lost is told from the one that got its number', async (t) => {
  await withDir(t, async (given) => {
    const { ctx, dir, open } = given
    const cursors: string[] = []
    {
      await using exchange = open()
      const reader = exchange.follow(ctx, 'now')[Symbol.asyncIterator]()
      for (let n = 1; n <= 3; n++) exchange.publish(ctx, `/n/${n}`, payload)
      for (let n = 0; n <= 3; n++) cursors.push((await reader.next()).value?.cursor ?? '')
    }
    const path = join(dir, 'events.log')
    const file = await readFile(path)
    await writeFile(path, file.subarray(0, file.length - 2 * record(1).length))
    await using exchange = open()
    await publish(given, exchange, 4, 5)
    const after = async (n: number) => await told(given, exchange, { after: cursors[n] ?? '' }, 3)
    assert.deepEqual(await after(0), ['place', '/n/1', '/n/4'])
    assert.deepEqual(await after(1), ['place', '/n/4', '/n/5'])
    assert.deepEqual(await after(3), ['gap', '/n/4', '/n/5'])
  })
})

test('a second daemon keeps its hands off the log', async (t) => {
  await withDir(t, async (given) => {
    const { dir, logged, open } = given
    await using first = open()
    await publish(given, first, 1)
    await using second = open()
    await publish(given, second, 2)
    assert.match(
      logged.join('\n'),
      /^warn the event log cannot be written .*another process holds it/,
    )
    assert.equal(scan(await readFile(join(dir, 'events.log')))?.events.length, 1)
  })
})

test('a log that cannot be written is said once, and events come all the same', async (t) => {
  await withDir(t, async (given) => {
    const { dir, logged, open } = given
    await using exchange = open()
    await publish(given, exchange, 1, 2, 3)
    // No file can be made where a directory is.
    await mkdir(join(dir, 'events.log.new'))
    await publish(given, exchange, 4, 5, 6, 7, 8, 9)
    assert.deepEqual(
      (await told(given, exchange, 'oldest', 6)).slice(1),
      [5, 6, 7, 8, 9].map((n) => `/n/${n}`),
    )
    assert.equal(logged.length, 1)
    assert.match(logged[0] ?? '', /^warn the event log cannot be written .*EISDIR/)
    await rmdir(join(dir, 'events.log.new'))
    assert.equal(scan(await readFile(join(dir, 'events.log')))?.events.length, 4)
  })
})

test('a daemon that goes on with a log that was not written says what is missing', async (t) => {
  await withDir(t, async (given) => {
    const { ctx, dir, open } = given
    let cursor = ''
    {
      await using exchange = open()
      await publish(given, exchange, 1, 2, 3, 4)
      await mkdir(join(dir, 'events.log.new'))
      await publish(given, exchange, 5)
      const reader = exchange.follow(ctx, 'now')[Symbol.asyncIterator]()
      cursor = (await reader.next()).value?.cursor ?? ''
    }
    await rmdir(join(dir, 'events.log.new'))
    await using next = open()
    await publish(given, next, 6)
    assert.deepEqual(await told(given, next, { after: cursor }, 2), ['gap', '/n/6'])
  })
})
