import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { fromBinary } from '@bufbuild/protobuf'

import { silent } from '#core/context.ts'
import { TaskStartSchema } from '#gen/events/task_pb.ts'
import { Events } from '#gen/services/events-ttrpc_pb.ts'
import { unavailable } from '#lib/errors/errors.ts'
import { type Call, implement } from '#lib/rpc/rpc.ts'
import { type TtrpcServer, listenTtrpc } from '#lib/ttrpc/server.ts'
import { recordingLogger } from '#testing/context.ts'

import { EventPublisher } from './publisher.ts'

/** What a daemon heard: `<metadata namespace> <envelope namespace> <topic> <pid>`. */
async function listen(path: string, heard: string[], refusals = 0): Promise<TtrpcServer> {
  let left = refusals
  const service = implement<Call, typeof Events>(Events, {
    forward: ({ envelope }, call) => {
      left -= 1
      if (left >= 0) throw unavailable('not yet')
      const { pid } = fromBinary(TaskStartSchema, envelope?.event?.value ?? new Uint8Array())
      const namespace = call.metadata.get('containerd-namespace-ttrpc')
      heard.push(`${namespace} ${envelope?.namespace} ${envelope?.topic} ${pid}`)
      return {}
    },
  })
  return await listenTtrpc({ path }, { services: [service], context: (call) => call })
}

suite('publisher', { timeout: 30_000 }, () => {
  test('events arrive in order, in the name of their namespace', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'publisher-'))
    const address = join(dir.path, 'sock')
    const heard: string[] = []
    await using _server = await listen(address, heard)
    await using events = new EventPublisher({ address, namespace: 'ns', log: silent })
    for (let pid = 1; pid <= 100; pid += 1) events.publish('/tasks/start', TaskStartSchema, { pid })
    await events.flushed()
    const expected = Array.from({ length: 100 }, (_, i) => `ns ns /tasks/start ${i + 1}`)
    assert.deepEqual(heard, expected)
  })

  test('events wait for a daemon that is away, and for one that refuses', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'publisher-'))
    const address = join(dir.path, 'sock')
    const heard: string[] = []
    await using events = new EventPublisher({ address, namespace: 'ns', log: silent })
    events.publish('/tasks/start', TaskStartSchema, { pid: 1 })
    await sleep(20)
    {
      await using _first = await listen(address, heard, 1)
      events.publish('/tasks/start', TaskStartSchema, { pid: 2 })
      await events.flushed()
    }
    events.publish('/tasks/start', TaskStartSchema, { pid: 3 })
    await using _second = await listen(address, heard)
    await events.flushed()
    assert.deepEqual(
      heard.map((line) => line.split(' ').at(-1)),
      ['1', '2', '3'],
    )
  })

  test('more events than the queue holds are dropped, and that is logged', async () => {
    const lines: string[] = []
    const log = recordingLogger(lines)
    const address = '/no/such/socket'
    {
      await using events = new EventPublisher({ address, namespace: 'ns', log })
      for (let pid = 0; pid < 2050; pid += 1) {
        events.publish('/tasks/start', TaskStartSchema, { pid })
      }
    }
    assert.equal(lines.filter((line) => line.includes('event queue is full')).length, 2)
    assert.equal(lines.filter((line) => line.includes('event dropped')).length, 2048)
  })

  test('without an address nothing is published', async () => {
    await using events = new EventPublisher({ address: '', namespace: 'ns', log: silent })
    events.publish('/tasks/start', TaskStartSchema, { pid: 1 })
    await events.flushed()
  })
})
