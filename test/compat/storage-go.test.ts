import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'

import { readBlob } from '#core/content/read-blob.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { LocalStore } from '#plugins/content/local/local-store.ts'
import { openNative } from '#plugins/snapshots/native/native.ts'
import { OverlaySnapshotter } from '#plugins/snapshots/overlay/overlay.ts'
import { everyContainerd } from '#testing/containerd.ts'
import { newContext } from '#testing/context.ts'
import { root } from '#testing/root.ts'
import { startGo, until } from '#testing/start-go.ts'

const snapshotters = {
  overlayfs: async (t: TestContext, path: string) =>
    await OverlaySnapshotter.open(newContext(t), path, {
      asyncRemove: true,
      upperdirLabel: false,
      mountOptions: [],
    }),
  native: async (t: TestContext, path: string) => await openNative(newContext(t), path),
} as const

for (const go of everyContainerd()) {
  suite(`files of containerd ${go.version}`, () => {
    for (const [name, open] of Object.entries(snapshotters)) {
      test(`its ${name} snapshots are ours, and ours are its`, async (t) => {
        if (!root(t)) return
        await using dir = await mkdtempDisposable(join(tmpdir(), 'storage-go-'))
        const path = join(dir.path, 'root', `io.containerd.snapshotter.v1.${name}`)
        const ctx = newContext(t)
        const snapshots = ['snapshots', '--snapshotter', name]
        let mounts = ''
        {
          await using theirs = await startGo(t, go, dir.path, '1h')
          await theirs.ctr([...snapshots, 'prepare', 'work'])
          await theirs.ctr([...snapshots, 'commit', 'base', 'work'])
          await theirs.ctr([...snapshots, 'prepare', 'next', 'base'])
          await theirs.ctr([...snapshots, 'view', 'look', 'base'])
          for (const key of ['base', 'next']) {
            await theirs.ctr([...snapshots, 'label', key, 'containerd.io/gc.root=yes'])
          }
          mounts = await theirs.ctr([...snapshots, 'mounts', '/mnt', 'next'])
        }
        {
          await using sn = await open(t, path)
          const found = await Array.fromAsync(sn.list(ctx))
          const shown = found.map(({ name: key, kind }) => `${key.replace(/^.*\//, '')} ${kind}`)
          assert.deepEqual(shown.toSorted(), ['base committed', 'look view', 'next active'])
          const base = found.find((info) => info.kind === 'committed')?.name ?? ''
          const next = found.find((info) => info.kind === 'active')
          assert.equal(next?.parent, base)
          assert.ok(Date.now() - next.createdAt.getTime() < 60_000)
          const usage = await sn.usage(ctx, base)
          assert.ok(usage.inodes > 0)
          const [mount] = await sn.mounts(ctx, next.name)
          assert.ok(mounts.includes(`-t ${mount?.type}`), mounts)
          for (const option of mount?.options ?? []) assert.ok(mounts.includes(option), option)
          await sn.prepare(ctx, 'ours', base, { labels: { a: 'b' } })
          await sn.commit(ctx, 'top', 'ours')
          await sn.prepare(ctx, 'above', 'top')
        }
        await using theirs = await startGo(t, go, dir.path)
        // Its collector finds ours in the database, and that no namespace has them.
        await until(t, () => fs.readdirSync(join(path, 'snapshots')).length === 2)
        assert.match(await theirs.ctr([...snapshots, 'usage', 'base']), /base/)
        await theirs.ctr([...snapshots, 'prepare', 'again', 'base'])
        await theirs.ctr([...snapshots, 'commit', 'again-top', 'again'])
      })
    }

    test('its blobs and uploads are ours', async (t) => {
      if (!root(t)) return
      await using dir = await mkdtempDisposable(join(tmpdir(), 'storage-go-'))
      const ctx = newContext(t)
      {
        await using theirs = await startGo(t, go, dir.path, '1h')
        await theirs.ctr(['content', 'ingest', 'whole'], 'hello')
        await theirs.ingestPart('part', 'half of ')
      }
      const store = LocalStore.open(ctx, join(dir.path, 'root/io.containerd.content.v1.content'))
      const digests = await Array.fromAsync(store.list(ctx), (info) => info.digest)
      assert.deepEqual(digests, [digestOf('hello')])
      const bytes = await readBlob(ctx, store, digestOf('hello'), 100)
      assert.equal(Buffer.from(bytes).toString(), 'hello')
      const [status] = await store.listStatuses(ctx)
      assert.match(status?.ref ?? '', /^default\/\d+\/part$/)
      await using writer = await store.writer(ctx, { ref: status?.ref ?? '' })
      const sent = 'half of '.slice(0, writer.status().offset)
      assert.equal(writer.digest(), digestOf(sent))
      await writer.write(ctx, Buffer.from('it'))
      await writer.commit(ctx, { expected: digestOf(`${sent}it`) })
    })
  })
}
