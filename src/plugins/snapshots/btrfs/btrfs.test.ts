import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { basename, join } from 'node:path'
import { tmpdir } from 'node:os'
import { mkdtempDisposable } from 'node:fs/promises'
import { after, suite, type TestContext, test } from 'node:test'

import type { Context } from '#core/context.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import { snapshotterSuite } from '#core/snapshots/testsuite.ts'
import { isFull } from '#lib/fs/has-errno.ts'
import { SkipPlugin } from '#plugin/plugin.ts'
import { createSubvolume, isSubvolume } from '#sys/btrfs.ts'
import { newContext } from '#testing/context.ts'
import { layer, mounted, read, write } from '#testing/layers.ts'
import { loopFileSystem } from '#testing/loop-file-system.ts'

import { openBtrfs } from './btrfs.ts'

const btrfs = loopFileSystem({ type: 'btrfs', size: 512, args: ['-q'] })
after(() => typeof btrfs === 'string' || btrfs[Symbol.dispose]())

/** A root on btrfs that stands for `root`, which is not. */
const onBtrfs = (root: string): string =>
  join(typeof btrfs === 'string' ? root : btrfs.path, basename(root))

interface Given {
  readonly ctx: Context
  readonly root: string
  readonly open: () => Promise<Snapshotter>
}

const check = (title: string, body: (given: Given) => Promise<void>): void =>
  void test(title, async (t: TestContext) => {
    if (typeof btrfs === 'string') return t.skip(btrfs)
    await using dir = await mkdtempDisposable(join(tmpdir(), 'btrfs-test-'))
    const ctx = newContext(t)
    const root = onBtrfs(dir.path)
    await body({ ctx, root, open: async () => await openBtrfs(ctx, root) })
  })

if (typeof btrfs === 'string') test('btrfs snapshotter', (t) => t.skip(btrfs))
else snapshotterSuite('btrfs', newContext, (ctx, root) => openBtrfs(ctx, onBtrfs(root)))

const subvolumes = (root: string): readonly string[] =>
  ['active', 'view', 'snapshots'].flatMap((folder) =>
    fs.readdirSync(join(root, folder)).map((name) => `${folder}/${name}`),
  )

suite('btrfs snapshotter on disk', () => {
  check('a snapshot is a subvolume of its kind', async ({ ctx, root, open }) => {
    await using sn = await open()
    assert.equal(fs.statSync(root).mode & 0o777, 0o700)
    const [mount] = await sn.prepare(ctx, 'a', '')
    assert.equal(mount?.type, 'btrfs')
    assert.match(mount?.source ?? '', /^\/dev\/loop\d+$/)
    assert.match(mount?.options.join() ?? '', /^subvolid=\d+$/)
    assert.deepEqual(subvolumes(root), ['active/1'])
    await sn.commit(ctx, 'one', 'a')
    assert.deepEqual(subvolumes(root), ['snapshots/1'])
    assert.throws(() => fs.writeFileSync(join(root, 'snapshots/1/x'), ''), { code: 'EROFS' })
    await sn.prepare(ctx, 'b', 'one')
    const [view] = await sn.view(ctx, 'look', 'one')
    assert.match(view?.options.join() ?? '', /^subvolid=\d+,ro$/)
    assert.deepEqual(subvolumes(root), ['active/2', 'view/3', 'snapshots/1'])
    assert.ok(subvolumes(root).every((name) => isSubvolume(join(root, name))))
    for (const key of ['look', 'b', 'one']) await sn.remove(ctx, key)
    assert.deepEqual(subvolumes(root), [])
  })

  check('a refused snapshot or commit leaves no subvolume', async ({ ctx, root, open }) => {
    await using sn = await open()
    await sn.prepare(ctx, 'a', '')
    await sn.commit(ctx, 'one', 'a')
    await sn.prepare(ctx, 'a', 'one')
    await assert.rejects(sn.prepare(ctx, 'a', 'one'))
    await assert.rejects(sn.commit(ctx, 'one', 'a'))
    const tries = await Promise.allSettled(
      [1, 2, 3].map(async () => await sn.prepare(ctx, 'c', '')),
    )
    assert.equal(tries.filter(({ status }) => status === 'fulfilled').length, 1)
    assert.equal(subvolumes(root).length, 3)
  })

  check('what only changed counts, and once', async ({ ctx, open }) => {
    await using sn = await open()
    await layer(ctx, sn, { name: 'base' }, (dir) => write(dir, { big: 'x'.repeat(2_000_000) }))
    await layer(ctx, sn, { name: 'top', on: 'base' }, (dir) => {
      write(dir, { small: 'x'.repeat(100_000) })
      fs.linkSync(join(dir, 'small'), join(dir, 'again'))
    })
    const base = await sn.usage(ctx, 'base')
    assert.ok(base.size >= 2_000_000)
    const { size, inodes } = await sn.usage(ctx, 'top')
    assert.ok(size >= 100_000 && size < 200_000, String(size))
    assert.equal(inodes, 2)
  })

  check('what a crash left is removed, and subvolumes of a container too', async (given) => {
    const { ctx, root, open } = given
    await using sn = await open()
    await sn.prepare(ctx, 'a', '')
    await layer(ctx, sn, { name: 'one' }, (dir) => write(dir, { a: '1' }))
    for (const left of ['active/2', 'active/77', 'view/1', 'snapshots/9', 'snapshots/1']) {
      await createSubvolume(join(root, left))
    }
    fs.mkdirSync(join(root, 'view/new-dir/x'), { recursive: true })
    fs.mkdirSync(join(root, 'active/77/deep'))
    await createSubvolume(join(root, 'active/77/deep/inner'))
    await createSubvolume(join(root, 'active/77/deep/inner/more'))
    await sn.cleanup(ctx)
    assert.deepEqual(subvolumes(root), ['active/1', 'snapshots/2'])
    await createSubvolume(join(root, 'active/1/inner'))
    await createSubvolume(join(root, 'active/3'))
    await mounted(await sn.prepare(ctx, 'b', 'one'), (dir) =>
      assert.deepEqual(read(dir), { a: '1' }),
    )
    await sn.remove(ctx, 'a')
    assert.deepEqual(subvolumes(root), ['active/3', 'snapshots/2'])
  })

  check('a size is a limit once quotas are on, and nothing before', async ({ ctx, root, open }) => {
    await using sn = await open()
    await layer(ctx, sn, { name: 'base' }, (dir) => write(dir, { big: 'x'.repeat(6_000_000) }))
    const labels = { 'containerd.io/snapshot/max-size': String(4 << 20) }
    const fill = (dir: string): void => {
      fs.writeFileSync(join(dir, 'more'), Buffer.alloc(16 << 20, 1), { flush: true })
    }
    await mounted(await sn.prepare(ctx, 'before', 'base', { labels }), fill)
    execFileSync('btrfs', ['quota', 'enable', root])
    using undo = new DisposableStack()
    undo.defer(() => void execFileSync('btrfs', ['quota', 'disable', root]))
    await mounted(await sn.prepare(ctx, 'work', 'base', { labels }), (dir) => {
      write(dir, { some: 'x'.repeat(1_000_000) })
      assert.throws(() => fill(dir), isFull)
    })
    await mounted(await sn.prepare(ctx, 'free', 'base'), fill)
  })

  test('elsewhere there is no snapshotter, and no trace of one', async (t) => {
    await using dir = await mkdtempDisposable(join('/dev/shm', 'not-btrfs-'))
    const root = join(dir.path, 'sub/root')
    await assert.rejects(openBtrfs(newContext(t), root), (err) => {
      assert.ok(err instanceof SkipPlugin)
      assert.match(err.message, /\(tmpfs\) must be a btrfs filesystem/)
      return true
    })
    assert.deepEqual(fs.readdirSync(dir.path), [])
  })
})
