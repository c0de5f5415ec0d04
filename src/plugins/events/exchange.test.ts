import assert from 'node:assert/strict'
import { cp, mkdtempDisposable, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { type Message, type MessageInitShape, create, toBinary } from '@bufbuild/protobuf'
import type { GenMessage } from '@bufbuild/protobuf/codegenv2'

import type { Any } from '#core/any/any.ts'
import type { Context } from '#core/context.ts'
import { type ExchangeBench, exchangeSuite } from '#core/events/testsuite.ts'
import { ContainerUpdateSchema } from '#gen/events/container_pb.ts'
import { TaskCreateSchema, TaskExitSchema } from '#gen/events/task_pb.ts'
import { hasErrno } from '#lib/fs/has-errno.ts'
import { newContext } from '#testing/context.ts'
import { eventually } from '#testing/eventually.ts'

import { EventExchange } from './exchange.ts'

const small = { events: 8 }

exchangeSuite('in-process', newContext, async (ctx) => {
  const exchange = new EventExchange(ctx, small)
  return await Promise.resolve({ exchange, ...disposing(exchange) })
})

exchangeSuite('logging', newContext, async (ctx) => {
  const dir = await mkdtempDisposable(join(tmpdir(), 'events-'))
  const exchange = new EventExchange(ctx, { ...small, dir: dir.path })
  return { ...logging(ctx, exchange, dir.path), ...disposing(exchange, dir) }
})

/** What a kill -9 leaves of a log: a copy of its files, made while it is in use. */
function logging(ctx: Context, exchange: EventExchange, dir: string) {
  const reopen = async (): Promise<ExchangeBench> => {
    const copy = await mkdtempDisposable(join(tmpdir(), 'events-'))
    // A file that gets its last name meanwhile is looked for in vain.
    await eventually(async () => {
      await rm(copy.path, { recursive: true, force: true })
      return await cp(dir, copy.path, { recursive: true }).then(
        () => true,
        (err: unknown) => {
          if (!hasErrno(err, 'ENOENT')) throw err
          return undefined
        },
      )
    })
    const next = new EventExchange(ctx, { ...small, dir: copy.path })
    return { ...logging(ctx, next, copy.path), ...disposing(next, copy) }
  }
  return { exchange, reopen }
}

const disposing = (...things: readonly AsyncDisposable[]): AsyncDisposable => ({
  async [Symbol.asyncDispose]() {
    for (const thing of things) await thing[Symbol.asyncDispose]()
  },
})

function pack<T extends Message>(
  schema: GenMessage<T>,
  init: MessageInitShape<GenMessage<T>>,
): Any {
  return { typeUrl: schema.typeName, value: toBinary(schema, create(schema, init)) }
}

/** The topics that get through `filter`, of a few events with known payloads. */
async function matching(ctx: Context, filter: string): Promise<string[]> {
  const exchange = new EventExchange(ctx)
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
