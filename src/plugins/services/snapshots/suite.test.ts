import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, test } from 'node:test'

import type { Context } from '#core/context.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import { snapshotterSuite, type Supports } from '#core/snapshots/testsuite.ts'
import { Snapshots } from '#gen/services/snapshots_pb.ts'
import { openBlockfile } from '#plugins/snapshots/blockfile/blockfile.ts'
import { openBtrfs } from '#plugins/snapshots/btrfs/btrfs.ts'
import { type ErofsOptions, ErofsSnapshotter } from '#plugins/snapshots/erofs/erofs.ts'
import { missingForErofs } from '#plugins/snapshots/erofs/probe.ts'
import { openNative } from '#plugins/snapshots/native/native.ts'
import { OverlaySnapshotter } from '#plugins/snapshots/overlay/overlay.ts'
import { callOptions } from '#proxy/call.ts'
import { RemoteSnapshotter } from '#proxy/snapshots.ts'
import { newContext } from '#testing/context.ts'
import { ext4File } from '#testing/ext4-file.ts'
import { loopFileSystem } from '#testing/loop-file-system.ts'
import { type TestMetadataOptions, testMetadata, withMetadata } from '#testing/metadata.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { serve } from '#testing/serve.ts'

import { snapshotsApi } from './grpc.ts'

const erofs: ErofsOptions = {
  overlayOptions: [],
  immutable: false,
  writableBytes: 0,
  verity: 'auto',
  remapIds: true,
}

const native = async (ctx: Context, root: string) => ({
  snapshotters: new Map([['native', await openNative(ctx, root)]]),
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

const overlay = { asyncRemove: true, upperdirLabel: true, mountOptions: [] }
const ext4 = ext4File()
after(() => ext4[Symbol.dispose]())
const blocks = { scratchFile: ext4.path, recreateScratch: false, fsType: 'ext4', mountOptions: [] }
const btrfs = loopFileSystem({ type: 'btrfs', size: 512, args: ['-q'] })
after(() => typeof btrfs === 'string' || btrfs[Symbol.dispose]())

type Opening = (ctx: Context, root: string) => Promise<Snapshotter>

/** Its snapshots are on a file system of their own; `root` has a name there. */
const openOnBtrfs: Opening = async (ctx, root) => {
  if (typeof btrfs === 'string') throw new Error(btrfs)
  return await openBtrfs(ctx, join(btrfs.path, root.replaceAll('/', '-')))
}

interface Kind {
  readonly name: string
  readonly open: Opening
  readonly supports?: Supports
  /** Why this machine can't have one. */
  readonly lacks?: string | undefined
}

const kinds: readonly Kind[] = [
  { name: 'native', open: openNative },
  {
    name: 'overlayfs',
    open: async (ctx, root) => await OverlaySnapshotter.open(ctx, root, overlay),
    supports: { rebase: true },
  },
  {
    name: 'erofs',
    open: async (ctx, root) => await ErofsSnapshotter.open(ctx, root, erofs),
    supports: { rebase: true, packs: true },
    lacks: missingForErofs(),
  },
  {
    name: 'blockfile',
    open: async (ctx, root) => await openBlockfile(ctx, root, blocks),
    supports: { blocks: true },
  },
  { name: 'btrfs', open: openOnBtrfs, lacks: typeof btrfs === 'string' ? btrfs : undefined },
]

for (const { name, open, supports, lacks } of kinds) {
  const one = async (ctx: Context, root: string) => ({
    snapshotters: new Map([[name, await open(ctx, join(root, 'snapshotter'))]]),
  })
  if (lacks === undefined) {
    snapshotterSuite(`remote-${name}`, newContext, behind(name, one), { ...supports, depth: 8 })
  } else test(`remote-${name} snapshotter`, { skip: lacks })
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
