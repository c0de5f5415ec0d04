import assert from 'node:assert/strict'
import { test } from 'node:test'

import type { Context } from '#core/context.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import { snapshotterSuite } from '#core/snapshots/testsuite.ts'
import { Snapshots } from '#gen/services/snapshots_pb.ts'
import { type ErofsOptions, ErofsSnapshotter } from '#plugins/snapshots/erofs/erofs.ts'
import { missingForErofs } from '#plugins/snapshots/erofs/probe.ts'
import { openNative } from '#plugins/snapshots/native/native.ts'
import { callOptions } from '#proxy/call.ts'
import { RemoteSnapshotter } from '#proxy/snapshots.ts'
import { newContext } from '#testing/context.ts'
import { type TestMetadataOptions, testMetadata, withMetadata } from '#testing/metadata.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { serve } from '#testing/serve.ts'

import { snapshotsApi } from './grpc.ts'

const erofsOptions: ErofsOptions = {
  overlayOptions: [],
  immutable: false,
  writableBytes: 0,
  verity: 'auto',
  remapIds: true,
}

const native = async (ctx: Context, root: string) => ({
  snapshotters: new Map([['native', await openNative(ctx, root)]]),
})

const erofs = async (ctx: Context, root: string) => ({
  snapshotters: new Map([['erofs', await ErofsSnapshotter.open(ctx, root, erofsOptions)]]),
})

/** The snapshotter `name` of `options` on the other side of a connection, which goes with it. */
const behind =
  (name: string, options: (ctx: Context, root: string) => Promise<TestMetadataOptions>) =>
  async (ctx: Context, root: string): Promise<Snapshotter> => {
    const opened = await testMetadata(ctx, root, await options(ctx, root))
    const served = await serve(ctx, [snapshotsApi(opened.metadata.snapshotters)], opened)
    return Object.assign(new RemoteSnapshotter(served.connection, name), {
      [Symbol.asyncDispose]: async () => await served[Symbol.asyncDispose](),
    })
  }

snapshotterSuite('remote', newContext, behind('native', native))
const lacks = missingForErofs()
if (lacks !== undefined) test('remote-erofs snapshotter', { skip: lacks })
else {
  const supports = { rebase: true, packs: true }
  snapshotterSuite('remote-erofs', newContext, behind('erofs', erofs), supports)
}

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
