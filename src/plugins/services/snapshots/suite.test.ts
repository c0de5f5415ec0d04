import assert from 'node:assert/strict'
import { test } from 'node:test'

import type { Context } from '#core/context.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import { snapshotterSuite } from '#core/snapshots/testsuite.ts'
import { Snapshots } from '#gen/services/snapshots_pb.ts'
import { openNative } from '#plugins/snapshots/native/native.ts'
import { callOptions } from '#proxy/call.ts'
import { RemoteSnapshotter } from '#proxy/snapshots.ts'
import { newContext } from '#testing/context.ts'
import { testMetadata, withMetadata } from '#testing/metadata.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { serve } from '#testing/serve.ts'

import { snapshotsApi } from './grpc.ts'

const native = async (ctx: Context, root: string) => ({
  snapshotters: new Map([['native', await openNative(ctx, root)]]),
})

/** A snapshotter on the other side of a connection, which goes with it. */
async function open(ctx: Context, root: string): Promise<Snapshotter> {
  const opened = await testMetadata(ctx, root, await native(ctx, root))
  const served = await serve(ctx, [snapshotsApi(opened.metadata.snapshotters)], opened)
  return Object.assign(new RemoteSnapshotter(served.connection, 'native'), {
    [Symbol.asyncDispose]: async () => await served[Symbol.asyncDispose](),
  })
}

snapshotterSuite('remote', newContext, open)

test('a snapshotter that is not there is an argument that is not right', async (t) => {
  await withMetadata(
    t,
    async ({ ctx, metadata }) => {
      await using served = await serve(ctx, [snapshotsApi(metadata.snapshotters)])
      const missing = new RemoteSnapshotter(served.connection, 'zfs')
      await rejectsWith(
        'invalid_argument',
        missing.stat(ctx, 'key'),
        'snapshotter not loaded: zfs: invalid argument',
      )
      const unnamed = new RemoteSnapshotter(served.connection, '')
      await rejectsWith(
        'invalid_argument',
        Array.fromAsync(unnamed.list(ctx)),
        'snapshotter argument missing: invalid argument',
      )
    },
    native,
  )
})

test('a list travels in blocks of a hundred', async (t) => {
  await withMetadata(
    t,
    async ({ ctx, metadata }) => {
      await using served = await serve(ctx, [snapshotsApi(metadata.snapshotters)])
      const remote = new RemoteSnapshotter(served.connection, 'native')
      for (let i = 0; i < 101; i++) await remote.prepare(ctx, `key-${i}`, '')
      const client = served.connection.client(Snapshots)
      const messages = client.list({ snapshotter: 'native' }, callOptions(ctx))
      const sizes = await Array.fromAsync(messages, ({ info }) => info.length)
      assert.deepEqual(sizes, [100, 1])
    },
    native,
  )
})
