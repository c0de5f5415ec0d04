import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'

import type { Context } from '#core/context.ts'
import { Namespaces } from '#gen/services/namespaces_pb.ts'
import type { Connection } from '#lib/rpc/rpc.ts'
import { callOptions } from '#proxy/call.ts'
import { RemoteNamespaceStore } from '#proxy/namespaces.ts'
import { withMetadata } from '#testing/metadata.ts'
import { type Recorded, recordingPublisher } from '#testing/publisher.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { serve } from '#testing/serve.ts'

import { namespacesApi } from './grpc.ts'
import { PublishingNamespaceStore } from './service.ts'

interface Given {
  readonly ctx: Context
  readonly connection: Connection
  readonly remote: RemoteNamespaceStore
  readonly events: readonly Recorded[]
}

async function namespaces(t: TestContext, body: (given: Given) => Promise<void>): Promise<void> {
  await withMetadata(t, async ({ ctx, metadata }) => {
    const events: Recorded[] = []
    const publisher = recordingPublisher(events)
    const store = new PublishingNamespaceStore(metadata.namespaces, publisher)
    await using served = await serve(ctx, [namespacesApi(store, publisher)])
    const { connection } = served
    await body({ ctx, connection, remote: new RemoteNamespaceStore(connection), events })
  })
}

test('what happens to a namespace is published in it', async (t) => {
  await namespaces(t, async ({ ctx, remote, events }) => {
    await remote.create(ctx, { name: 'blue', labels: { a: 'b' } })
    await remote.setLabels(ctx, 'blue', { c: 'd' })
    assert.deepEqual((await remote.get(ctx, 'blue')).labels, { a: 'b', c: 'd' })
    await remote.delete(ctx, 'blue')
    assert.deepEqual(
      events.map(({ topic, namespace }) => [topic, namespace]),
      [
        ['/namespaces/create', 'blue'],
        ['/namespaces/update', 'blue'],
        ['/namespaces/delete', 'blue'],
      ],
    )
    await rejectsWith('not_found', remote.get(ctx, 'blue'), /namespace "blue"/)
  })
})

test('an update without a mask replaces all labels', async (t) => {
  await namespaces(t, async ({ ctx, remote, connection, events }) => {
    await remote.create(ctx, { name: 'blue', labels: { a: 'b', keep: '1' } })
    const client = connection.client(Namespaces)
    const namespace = { name: 'blue', labels: { keep: '2', c: 'd' } }
    await client.update({ namespace }, callOptions(ctx))
    assert.deepEqual((await remote.get(ctx, 'blue')).labels, { keep: '2', c: 'd' })
    assert.equal(events.length, 2)
  })
})

test('a namespace that is not there has no labels, and an update makes it', async (t) => {
  await namespaces(t, async ({ ctx, remote, connection }) => {
    const client = connection.client(Namespaces)
    const { namespace } = await client.get({ name: 'new' }, callOptions(ctx))
    assert.deepEqual([namespace?.name, namespace?.labels], ['new', {}])
    await client.update({ namespace: { name: 'new', labels: { a: 'b' } } }, callOptions(ctx))
    assert.deepEqual(await remote.list(ctx), [{ name: 'new', labels: { a: 'b' } }])
  })
})

test('only labels of a namespace can be updated, all or nothing', async (t) => {
  await namespaces(t, async ({ ctx, remote, connection }) => {
    await remote.create(ctx, { name: 'blue', labels: {} })
    const client = connection.client(Namespaces)
    const request = {
      namespace: { name: 'blue', labels: { a: 'b' } },
      updateMask: { paths: ['labels.a', 'name'] },
    }
    await rejectsWith(
      'invalid_argument',
      client.update(request, callOptions(ctx)),
      'cannot update "name" field',
    )
    assert.deepEqual((await remote.get(ctx, 'blue')).labels, {})
  })
})
