import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { type Message, type MessageInitShape, create, toBinary } from '@bufbuild/protobuf'
import type { GenMessage } from '@bufbuild/protobuf/codegenv2'

import type { Any } from '#core/any/any.ts'
import type { Context } from '#core/context.ts'
import { exchangeSuite } from '#core/events/testsuite.ts'
import { ContainerUpdateSchema } from '#gen/events/container_pb.ts'
import { TaskCreateSchema, TaskExitSchema } from '#gen/events/task_pb.ts'
import { codeOf } from '#lib/errors/errors.ts'
import { newContext } from '#testing/context.ts'

import { EventExchange } from './exchange.ts'

exchangeSuite('in-process', newContext, () => new EventExchange())

function pack<T extends Message>(
  schema: GenMessage<T>,
  init: MessageInitShape<GenMessage<T>>,
): Any {
  return { typeUrl: schema.typeName, value: toBinary(schema, create(schema, init)) }
}

/** The topics that get through `filter`, of a few events with known payloads. */
async function matching(ctx: Context, filter: string): Promise<string[]> {
  const exchange = new EventExchange()
  const stop = new AbortController()
  const reader = exchange.subscribe({ ...ctx, signal: stop.signal }, [filter])
  const io = { stdout: '/run/out', terminal: true }
  exchange.publish(ctx, '/tasks/create', pack(TaskCreateSchema, { containerId: 'a', io }))
  exchange.publish(ctx, '/tasks/exit', pack(TaskExitSchema, { containerId: 'b', pid: 7 }))
  const labels = { 'a.b': 'x' }
  exchange.publish(ctx, '/containers/update', pack(ContainerUpdateSchema, { id: 'c', labels }))
  exchange.publish(ctx, '/some/thing', { typeUrl: 'unknown.Type', value: Uint8Array.of(1) })
  const broken = { typeUrl: TaskExitSchema.typeName, value: Uint8Array.of(255) }
  exchange.publish(ctx, '/tasks/broken', broken)
  const got = Array.fromAsync(reader, (envelope) => envelope.topic)
  setImmediate(() => stop.abort())
  return await got
}

suite('event fields', () => {
  const cases = {
    'event.container_id==b': ['/tasks/exit'],
    'event.container_id': ['/tasks/create', '/tasks/exit'],
    'event.io.stdout=="/run/out"': ['/tasks/create'],
    'event.io.terminal==true': ['/tasks/create'],
    'event.labels."a.b"==x': ['/containers/update'],
    'event.pid': [],
    'event.exited_at': [],
    'topic~=^/tasks/,namespace==testing': ['/tasks/create', '/tasks/exit', '/tasks/broken'],
  }
  for (const [filter, topics] of Object.entries(cases)) {
    void test(`${filter} finds ${topics.length} of the events`, async (t) => {
      assert.deepEqual(await matching(newContext(t), filter), topics)
    })
  }
})

suite('a slow subscriber', () => {
  const event = { typeUrl: 'x.Y', value: new Uint8Array(100) }

  void test('fails once it has left too many events unread, and others do not', async (t) => {
    const ctx = newContext(t)
    const exchange = new EventExchange({ events: 3, bytes: 1_000_000 })
    const slow = exchange.subscribe(ctx)
    const quick = exchange.subscribe(ctx)[Symbol.asyncIterator]()
    for (let n = 0; n < 4; n++) {
      exchange.publish(ctx, '/a/b', event)
      await quick.next()
    }
    const read = Array.fromAsync(slow)
    await assert.rejects(read, (err) => codeOf(err) === 'resource_exhausted')
    exchange.publish(ctx, '/a/b', event)
    assert.equal((await quick.next()).done, false)
  })

  void test('fails once it has left too many bytes unread', async (t) => {
    const ctx = newContext(t)
    const exchange = new EventExchange({ events: 100, bytes: 250 })
    const slow = exchange.subscribe(ctx)
    for (let n = 0; n < 3; n++) exchange.publish(ctx, '/a/b', event)
    await assert.rejects(Array.fromAsync(slow), (err) => codeOf(err) === 'resource_exhausted')
  })

  void test('may read for ever when it keeps up', async (t) => {
    const ctx = newContext(t)
    const exchange = new EventExchange({ events: 2, bytes: 250 })
    const reader = exchange.subscribe(ctx)[Symbol.asyncIterator]()
    for (let n = 0; n < 50; n++) {
      exchange.publish(ctx, '/a/b', event)
      assert.equal((await reader.next()).done, false)
    }
  })
})
