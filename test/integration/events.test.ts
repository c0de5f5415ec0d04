import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { connect } from '#client/connect.ts'
import { followEvents } from '#client/follow.ts'
import type { Followed } from '#core/events/events.ts'
import { Events } from '#gen/services/events_pb.ts'
import { packageRoot } from '#lib/release/release.ts'
import { containerd1 } from '#testing/containerd.ts'
import { startDaemon } from '#testing/daemon.ts'
import { root } from '#testing/root.ts'

/*
 * Whoever follows the events of a daemon misses none and gets none twice, whatever happens to the
 * daemon, as long as they are kept.
 */

const event = { typeUrl: 'a.B', value: new Uint8Array() }
const call = { metadata: { 'containerd-namespace': 'followed' } }

/** Events by their number, and gaps; it stops at event `last`. */
async function read(followed: AsyncIterable<Followed>, last: number): Promise<unknown[]> {
  const got: unknown[] = []
  for await (const next of followed) {
    if (next.kind === 'gap') got.push({ lost: next.lost })
    const [, n] = next.kind === 'event' ? (/^\/n\/(\d+)$/.exec(next.envelope.topic) ?? []) : []
    if (n === undefined) continue
    got.push(Number(n))
    if (Number(n) === last) break
  }
  return got
}

const numbers = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i)

void suite('events of a daemon', () => {
  void test('none is lost nor comes twice over kills of the daemon', async (t) => {
    if (!root(t)) return
    await using daemon = await startDaemon()
    const { address } = daemon
    const stop = new AbortController()
    const reading = read(followEvents(address, { from: 'oldest', signal: stop.signal }), 60)
    // Those that were acknowledged; a call that a kill cuts off is made again under the next number.
    const published: number[] = []
    let n = 0
    for (const signal of ['SIGKILL', 'SIGTERM', 'SIGKILL', undefined] as const) {
      await using client = await connect(address)
      const { publish } = client.connection.client(Events)
      for (const end = n + 15; n < end; ) {
        await publish({ topic: `/n/${n + 1}`, event }, call)
        published.push(++n)
      }
      // Publishing does not wait for the log, by design.
      await sleep(100)
      if (!signal) break
      await daemon.stop(signal)
      await daemon.start()
    }
    assert.deepEqual(await reading, published)
    stop.abort()
    const again = followEvents(address, { from: 'oldest', signal: t.signal })
    assert.deepEqual(await read(again, 60), published)
  })

  void test('who comes back too late is told how much is missing', async (t) => {
    if (!root(t)) return
    const config = '[plugins."io.containerd.event.v1.exchange"]\nlog_events = 10'
    await using daemon = await startDaemon({ config })
    const { address } = daemon
    await using client = await connect(address)
    const place = await client.follow('now')[Symbol.asyncIterator]().next()
    const { publish } = client.connection.client(Events)
    for (const n of numbers(1, 100)) await publish({ topic: `/n/${n}`, event }, call)
    await sleep(100)
    await daemon.stop('SIGKILL')
    await daemon.start()
    const from = { after: place.value?.cursor ?? '' }
    const [gap, ...rest] = await read(followEvents(address, { from, signal: t.signal }), 100)
    assert.ok(typeof gap === 'object' && gap && 'lost' in gap)
    const lost = Number(gap.lost)
    assert.ok(lost >= 80 && lost <= 90, `${lost} lost`)
    assert.deepEqual(rest, numbers(lost + 1, 100))
  })

  void test('wharf events shows what has happened, with the cursors to go on from', async (t) => {
    if (!root(t)) return
    await using daemon = await startDaemon()
    await using client = await connect(daemon.address)
    for (const name of ['one', 'two', 'three']) await client.namespaces.create(name)
    const lines = async (count: number, ...args: string[]): Promise<string[]> => {
      const wharf = join(packageRoot, 'bin/wharf.mjs')
      const child = spawn(process.execPath, [wharf, 'events', '-a', daemon.address, ...args], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const exited = once(child, 'exit')
      const got: string[] = []
      for await (const line of createInterface({ input: child.stdout })) {
        if (got.push(line) === count) child.kill('SIGINT')
      }
      assert.deepEqual(await exited, [0, null])
      return got
    }
    const text = await lines(3, '--oldest', 'topic=="/namespaces/create"')
    const [, cursor = '', name] =
      /^(\S+) \S+Z \S+ \/namespaces\/create \{"name":"(\w+)"\}$/.exec(text[1] ?? '') ?? []
    assert.equal(name, 'two', text.join('\n'))
    const [place, third] = await lines(2, '--json', '--after', cursor)
    assert.deepEqual(JSON.parse(place ?? ''), { cursor })
    assert.match(third ?? '', /"topic":"\/namespaces\/create",.*"event":\{"name":"three"\}/)
  })

  void test('containerd is said to keep none', async (t) => {
    const containerd = containerd1()
    if (!root(t)) return
    if (!containerd) return t.skip('needs containerd')
    await using daemon = await startDaemon({ containerd })
    await using client = await connect(daemon.address)
    const reading = Array.fromAsync(client.follow('now'))
    const publishing = setInterval(() => {
      client.connection
        .client(Events)
        .publish({ topic: '/n/1', event }, call)
        .catch(() => {})
    }, 50)
    await assert.rejects(reading, { code: 'unimplemented' })
    clearInterval(publishing)
  })
})
