import assert from 'node:assert/strict'
import { suite, test, type TestContext } from 'node:test'

import type { Any } from '#core/any/any.ts'
import type { Stream } from '#core/streaming/streaming.ts'
import { ProgressSchema } from '#gen/types/transfer/progress_pb.ts'
import { unpack } from '#proxy/convert/pack.ts'
import { newContext } from '#testing/context.ts'

import { ProgressSender } from './progress-sender.ts'

/** A client that writes down what it is told: `name event bytes`. */
class Client implements Stream {
  readonly told: string[] = []
  closed = false
  /** What it does with each message before it takes the next. */
  reading: () => Promise<void> = async () => await Promise.resolve()

  async send({ signal }: { readonly signal: AbortSignal }, message: Any): Promise<void> {
    const { name, event, progress } = unpack(ProgressSchema, message)
    this.told.push(`${name} ${event} ${progress}`)
    const { promise: left, reject } = Promise.withResolvers<never>()
    signal.addEventListener('abort', () => reject(signal.reason))
    await Promise.race([this.reading(), left])
  }

  async receive(): Promise<undefined> {
    await Promise.resolve()
  }

  close(): void {
    this.closed = true
  }
}

/** Time stands still but for `tick`. */
function open(t: TestContext): { client: Client; sender: ProgressSender; tick: Tick } {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const client = new Client()
  const tick: Tick = async (ms) => {
    t.mock.timers.tick(ms)
    for (let n = 0; n < 20; n++) await new Promise(setImmediate)
  }
  return { client, sender: new ProgressSender(newContext(t), client), tick }
}

type Tick = (ms: number) => Promise<void>

const begin = (sender: ProgressSender, from: number, to: number): string[] => {
  const names = Array.from({ length: to - from }, (_, n) => `layer-${from + n}`)
  for (const name of names) sender.report({ name, event: 'uploading', progress: 0 })
  return names.map((name) => `${name} uploading 0`)
}

void suite('what a client is told of a transfer', () => {
  void test('the first changes come at once, later ones together and soon', async (t) => {
    const { client, sender, tick } = open(t)
    const first = begin(sender, 0, 16)
    await tick(0)
    assert.deepEqual(client.told, first)
    const more = begin(sender, 16, 40)
    await tick(19)
    assert.deepEqual(client.told, first)
    await tick(1)
    assert.deepEqual(client.told, [...first, ...more])
  })

  void test('of many counts the latest, every so often; what happens next does not wait for that', async (t) => {
    const { client, sender, tick } = open(t)
    begin(sender, 0, 1)
    await tick(0)
    for (const progress of [1, 2, 3])
      sender.report({ name: 'layer-0', event: 'uploading', progress })
    await tick(99)
    assert.equal(client.told.length, 1)
    await tick(1)
    assert.deepEqual(client.told.slice(1), ['layer-0 uploading 3'])
    sender.report({ name: 'layer-0', event: 'uploading', progress: 4 })
    sender.report({ name: 'layer-0', event: 'complete', progress: 4 })
    await tick(0)
    assert.deepEqual(client.told.slice(2), ['layer-0 uploading 4', 'layer-0 complete 4'])
  })

  void test('the end sends what waits, and closes', async (t) => {
    const { client, sender } = open(t)
    const all = begin(sender, 0, 30)
    await sender[Symbol.asyncDispose]()
    assert.deepEqual(client.told, all)
    assert.ok(client.closed)
    begin(sender, 30, 31)
    assert.equal(client.told.length, 30)
  })

  void test('the end does not wait for a client that reads no more', async (t) => {
    const { client, sender, tick } = open(t)
    client.reading = async () => await new Promise(() => {})
    begin(sender, 0, 3)
    const ended = sender[Symbol.asyncDispose]()
    await tick(1999)
    assert.equal(client.closed, false)
    await tick(1)
    await ended
    assert.deepEqual([client.told.length, client.closed], [1, true])
  })

  void test('a client that has gone is told nothing, and the transfer goes on', async (t) => {
    const { client, sender, tick } = open(t)
    client.reading = async () => await Promise.reject(new Error('gone'))
    begin(sender, 0, 2)
    await tick(0)
    begin(sender, 2, 4)
    await tick(200)
    assert.equal(client.told.length, 1)
    await sender[Symbol.asyncDispose]()
  })

  void test('to one that is far behind, the last state of each', async (t) => {
    const { client, sender, tick } = open(t)
    const read = Promise.withResolvers<void>()
    client.reading = async () => await read.promise
    const all = begin(sender, 0, 1100)
    for (let n = 0; n < 1100; n++)
      sender.report({ name: `layer-${n}`, event: 'complete', progress: 9 })
    read.resolve()
    await tick(100)
    const last = all.map((each) => each.replace('uploading 0', 'complete 9'))
    assert.deepEqual(new Set(client.told), new Set(['layer-0 uploading 0', ...last]))
  })
})
