import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'

import type { Context } from '#core/context.ts'
import { snapshotterSuite } from '#core/snapshots/testsuite.ts'
import { describe } from '#lib/errors/errors.ts'
import { newContext } from '#testing/context.ts'
import { rejectsWith } from '#testing/rejects.ts'

import { type OverlayOptions, OverlaySnapshotter } from './overlay.ts'

const plain: OverlayOptions = { asyncRemove: false, upperdirLabel: false, mountOptions: [] }

for (const [name, options] of [
  ['overlay', plain],
  ['overlay-async', { ...plain, asyncRemove: true, upperdirLabel: true }],
] as const) {
  snapshotterSuite(name, newContext, (ctx, root) => OverlaySnapshotter.open(ctx, root, options), {
    rebase: true,
    settle: true,
  })
}

interface Given extends AsyncDisposable {
  readonly ctx: Context
  readonly root: string
  readonly sn: OverlaySnapshotter
}

async function given(t: TestContext, options: Partial<OverlayOptions> = {}): Promise<Given> {
  await using made = new AsyncDisposableStack()
  const { path: root } = made.use(await mkdtempDisposable(join(tmpdir(), 'overlay-')))
  const ctx = newContext(t)
  const sn = made.use(await OverlaySnapshotter.open(ctx, root, { ...plain, ...options }))
  const held = made.move()
  return { ctx, root, sn, [Symbol.asyncDispose]: async () => await held.disposeAsync() }
}

const ids = ({ root }: Given): readonly string[] =>
  fs.readdirSync(join(root, 'snapshots')).toSorted()
const modes = ({ root }: Given, id: string): object =>
  Object.fromEntries(
    fs
      .readdirSync(join(root, 'snapshots', id))
      .map((name) => [
        name,
        (fs.statSync(join(root, 'snapshots', id, name)).mode & 0o777).toString(8),
      ]),
  )

suite('overlay snapshotter on disk', () => {
  test('an active snapshot has a work directory and a view has none', async (t) => {
    await using g = await given(t)
    await g.sn.prepare(g.ctx, 'work', '')
    await g.sn.view(g.ctx, 'look', '')
    assert.deepEqual(ids(g), ['1', '2'])
    assert.deepEqual(modes(g, '1'), { fs: '755', work: '711' })
    assert.deepEqual(modes(g, '2'), { fs: '755' })
  })

  test('mounts name layers nearest first, then the options', async (t) => {
    await using g = await given(t, { mountOptions: ['index=on', 'volatile'] })
    const upper = (id: number): string => join(g.root, 'snapshots', String(id), 'fs')
    const bind = (id: number, access: string): object[] => [
      { type: 'bind', source: upper(id), options: [access, 'rbind'] },
    ]
    assert.deepEqual(await g.sn.prepare(g.ctx, 'a', ''), bind(1, 'rw'))
    await g.sn.commit(g.ctx, 'one', 'a')
    const overlay = (...options: string[]): object[] => [
      { type: 'overlay', source: 'overlay', options: [...options, 'index=on', 'volatile'] },
    ]
    const writable = (id: number): string[] => [
      `workdir=${join(g.root, 'snapshots', String(id), 'work')}`,
      `upperdir=${upper(id)}`,
    ]
    const lower = (...layers: number[]): string => `lowerdir=${layers.map(upper).join(':')}`
    assert.deepEqual(await g.sn.prepare(g.ctx, 'b', 'one'), overlay(...writable(2), lower(1)))
    await g.sn.commit(g.ctx, 'two', 'b')
    assert.deepEqual(await g.sn.view(g.ctx, 'look', 'one'), bind(1, 'ro'))
    assert.deepEqual(await g.sn.view(g.ctx, 'look2', 'two'), overlay(lower(2, 1)))
    assert.deepEqual(await g.sn.view(g.ctx, 'look3', ''), bind(5, 'ro'))
    assert.deepEqual(await g.sn.prepare(g.ctx, 'c', 'two'), overlay(...writable(6), lower(2, 1)))
  })

  test('the index is off where the kernel has one and nobody asked for it', async (t) => {
    await using g = await given(t)
    await g.sn.prepare(g.ctx, 'a', '')
    await g.sn.commit(g.ctx, 'one', 'a')
    const [mount] = await g.sn.prepare(g.ctx, 'b', 'one')
    const hasIndex = fs.existsSync('/sys/module/overlay/parameters/index')
    assert.equal(mount?.options.includes('index=off'), hasIndex)
  })

  test('a removed directory stays until the clean-up when that is asked for', async (t) => {
    await using g = await given(t, { asyncRemove: true })
    await g.sn.prepare(g.ctx, 'a', '')
    await g.sn.prepare(g.ctx, 'b', '')
    await g.sn.remove(g.ctx, 'a')
    assert.deepEqual(ids(g), ['1', '2'])
    await g.sn.cleanup(g.ctx)
    assert.deepEqual(ids(g), ['2'])
  })

  test('a removed directory is gone at once otherwise, with all other garbage', async (t) => {
    await using g = await given(t)
    fs.mkdirSync(join(g.root, 'snapshots/new-123/fs'), { recursive: true })
    await g.sn.prepare(g.ctx, 'a', '')
    await g.sn.remove(g.ctx, 'a')
    assert.deepEqual(ids(g), [])
  })

  test('what a crash left where a snapshot goes is not in it', async (t) => {
    await using g = await given(t)
    fs.mkdirSync(join(g.root, 'snapshots/1/fs/old'), { recursive: true })
    await g.sn.prepare(g.ctx, 'a', '')
    assert.deepEqual(fs.readdirSync(join(g.root, 'snapshots/1/fs')), [])
    await g.sn.cleanup(g.ctx)
    assert.deepEqual(ids(g), ['1'])
  })

  test('a refused snapshot leaves no directory', async (t) => {
    await using g = await given(t)
    await g.sn.prepare(g.ctx, 'a', '')
    await assert.rejects(g.sn.prepare(g.ctx, 'a', ''), (err) => {
      assert.equal(describe(err), 'failed to create snapshot: snapshot a: already exists')
      return true
    })
    assert.deepEqual(ids(g), ['1'])
  })

  test('the upper directory is shown as a label when that is asked for', async (t) => {
    await using g = await given(t, { upperdirLabel: true })
    await g.sn.prepare(g.ctx, 'a', '', { labels: { x: 'y' } })
    const key = 'containerd.io/snapshot/overlay.upperdir'
    const labels = { x: 'y', [key]: join(g.root, 'snapshots/1/fs') }
    assert.deepEqual((await g.sn.stat(g.ctx, 'a')).labels, labels)
    const updated = await g.sn.update(g.ctx, { name: 'a', labels: { x: 'z' } }, ['labels.x'])
    assert.deepEqual(updated.labels, { ...labels, x: 'z' })
    const listed = await Array.fromAsync(g.sn.list(g.ctx), (info) => info.labels[key])
    assert.deepEqual(listed, [labels[key]])
  })

  test('two do not open one root', async (t) => {
    await using g = await given(t)
    const second = OverlaySnapshotter.open(g.ctx, g.root, plain)
    await rejectsWith('failed_precondition', second, /metadata\.db" is locked/)
  })
})
