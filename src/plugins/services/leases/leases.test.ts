import assert from 'node:assert/strict'
import { test } from 'node:test'

import { RemoteLeaseManager } from '#proxy/leases.ts'
import { withMetadata } from '#testing/metadata.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { serve } from '#testing/serve.ts'

import { leasesApi } from './grpc.ts'

test('a lease comes back as it was given, with what it holds', async (t) => {
  await withMetadata(t, async ({ ctx, metadata }) => {
    await using served = await serve(ctx, [leasesApi(metadata.leases)])
    const remote = new RemoteLeaseManager(served.connection)
    const lease = await remote.create(ctx, { id: 'one', labels: { a: 'b' } })
    assert.deepEqual(await remote.list(ctx, ['labels.a==b']), [lease])
    const resource = { id: 'key', type: 'snapshots/overlayfs' }
    await remote.addResource(ctx, 'one', resource)
    assert.deepEqual(await remote.listResources(ctx, 'one'), [resource])
    await remote.deleteResource(ctx, 'one', resource)
    assert.deepEqual(await remote.listResources(ctx, 'one'), [])
    await remote.delete(ctx, 'one')
    await rejectsWith('not_found', remote.delete(ctx, 'one'))
    await rejectsWith('not_found', remote.addResource(ctx, 'one', resource))
  })
})

test('a lease without a name gets one that nobody has', async (t) => {
  await withMetadata(t, async ({ ctx, metadata }) => {
    await using served = await serve(ctx, [leasesApi(metadata.leases)])
    const remote = new RemoteLeaseManager(served.connection)
    const first = await remote.create(ctx, { id: '', labels: {} })
    const second = await remote.create(ctx, { id: '', labels: {} })
    assert.match(first.id, /^\d+-[\w-]{4}$/)
    assert.notEqual(first.id, second.id)
  })
})
