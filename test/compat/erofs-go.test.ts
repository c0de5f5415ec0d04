import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { ErofsSnapshotter } from '#plugins/snapshots/erofs/erofs.ts'
import { missingForErofs } from '#plugins/snapshots/erofs/probe.ts'
import { unmountRecursive } from '#sys/mount.ts'
import { containerd2 } from '#testing/containerd.ts'
import { newContext } from '#testing/context.ts'
import { layer, mounted, read, write } from '#testing/layers.ts'
import { startGo } from '#testing/start-go.ts'

const go = containerd2()
const lacks = (process.getuid?.() !== 0 && 'needs root') || missingForErofs()
const skip = lacks ?? (go ? false : 'needs containerd 2.x')
const options = {
  overlayOptions: [],
  immutable: false,
  writableBytes: 0,
  verity: 'auto',
  remapIds: false,
} as const

void suite('erofs snapshots of containerd 2.x', { skip }, () => {
  test('are ours, and ours are its', { timeout: 120_000 }, async (t) => {
    if (!go) return
    await using dir = await mkdtempDisposable(join(tmpdir(), 'erofs-go-'))
    using _mounts = { [Symbol.dispose]: () => unmountRecursive(dir.path) }
    const path = join(dir.path, 'root/io.containerd.snapshotter.v1.erofs')
    const ctx = newContext(t)
    const snapshots = ['snapshots', '--snapshotter', 'erofs']
    {
      await using theirs = await startGo(t, go, dir.path, '1h')
      await theirs.ctr([...snapshots, 'prepare', 'work'])
      fs.writeFileSync(join(path, 'snapshots/1/fs/theirs'), 'of containerd')
      await theirs.ctr([...snapshots, 'commit', 'base', 'work'])
      await theirs.ctr([...snapshots, 'label', 'base', 'containerd.io/gc.root=yes'])
      // It mounts the image below itself to tell of this, and leaves it mounted.
      await theirs.ctr([...snapshots, 'prepare', 'next', 'base'])
      await theirs.ctr([...snapshots, 'label', 'next', 'containerd.io/gc.root=yes'])
    }
    {
      await using sn = await ErofsSnapshotter.open(ctx, path, options)
      const found = await Array.fromAsync(sn.list(ctx))
      const base = found.find(({ kind }) => kind === 'committed')?.name ?? ''
      const next = found.find(({ kind }) => kind === 'active')?.name ?? ''
      await mounted(await sn.mounts(ctx, next), (seen) => {
        assert.deepEqual(read(seen), { theirs: 'of containerd' })
        write(seen, { ours: 'of wharf' })
      })
      await sn.cleanup(ctx)
      await layer(ctx, sn, { name: 'top', on: base }, (seen) => write(seen, { top: 'x' }))
      await sn.remove(ctx, 'top')
    }
    await using theirs = await startGo(t, go, dir.path)
    await theirs.ctr([...snapshots, 'commit', 'second', 'next'])
    await theirs.ctr([...snapshots, 'prepare', 'third', 'second'])
    assert.match(await theirs.ctr([...snapshots, 'usage', 'second']), /second/)
    const image = { type: 'erofs', source: join(path, 'snapshots/2/layer.erofs'), options: ['ro'] }
    await mounted([image], (seen) => assert.deepEqual(read(seen), { ours: 'of wharf' }))
  })
})
