import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'

import type { Context } from '#core/context.ts'
import { newContext } from '#testing/context.ts'
import { layer, mounted, write } from '#testing/layers.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { root as asRoot } from '#testing/root.ts'

import { OverlaySnapshotter } from './overlay.ts'
import { mountsMapped, supportsIdMapping } from './probe.ts'

const userKey = 'containerd.io/snapshot/uidmapping'
const groupKey = 'containerd.io/snapshot/gidmapping'
const labels = { [userKey]: '0:5000:10,10:7000:10', [groupKey]: '0:6000:100' }
const mapping = [`uidmap=${labels[userKey]}`, `gidmap=${labels[groupKey]}`]

interface Given {
  readonly ctx: Context
  readonly sn: OverlaySnapshotter
  readonly dir: (...parts: string[]) => string
}

const check = (
  title: string,
  body: (given: Given, t: TestContext) => Promise<void>,
  remapIds = true,
): void =>
  void test(title, async (t) => {
    if (!asRoot(t)) return
    await using dir = await mkdtempDisposable(join(tmpdir(), 'overlay-mapped-'))
    if (!supportsIdMapping(dir.path)) return t.skip('the kernel has no id-mapped mounts')
    const ctx = newContext(t)
    const options = { asyncRemove: false, upperdirLabel: false, mountOptions: ['index=off'] }
    await using sn = await OverlaySnapshotter.open(ctx, dir.path, { ...options, remapIds })
    await body({ ctx, sn, dir: (...parts) => join(dir.path, 'snapshots', ...parts) }, t)
  })

const owner = (path: string): readonly number[] => {
  const { uid, gid } = fs.lstatSync(path)
  return [uid, gid]
}

suite('overlay snapshots with mapped ids', () => {
  check('the mapping comes first of the options of every mount', async ({ ctx, sn, dir }) => {
    const writable = [`workdir=${dir('2', 'work')}`, `upperdir=${dir('2', 'fs')}`]
    await sn.prepare(ctx, 'a', '')
    await sn.commit(ctx, 'one', 'a')
    assert.deepEqual(await sn.prepare(ctx, 'b', 'one', { labels }), [
      {
        type: 'overlay',
        source: 'overlay',
        options: [...mapping, ...writable, `lowerdir=${dir('1', 'fs')}`, 'index=off'],
      },
    ])
    assert.deepEqual(owner(dir('2', 'fs')), [5000, 6000])
    assert.deepEqual(await sn.mounts(ctx, 'b'), await sn.mounts(ctx, 'b'))
    assert.deepEqual(await sn.view(ctx, 'look', 'one', { labels }), [
      { type: 'bind', source: dir('1', 'fs'), options: [...mapping, 'ro', 'rbind'] },
    ])
    assert.deepEqual(await sn.prepare(ctx, 'c', '', { labels }), [
      { type: 'bind', source: dir('4', 'fs'), options: [...mapping, 'rw', 'rbind'] },
    ])
  })

  check('what belongs to users below belongs to those of the container', async ({ ctx, sn }) => {
    await layer(ctx, sn, { name: 'one' }, (at) => {
      write(at, { a: 'a', b: 'b' })
      fs.chownSync(join(at, 'b'), 12, 34)
    })
    await layer(ctx, sn, { name: 'two', on: 'one' }, (at) => write(at, { c: 'c' }))
    for (const parent of ['one', 'two']) {
      await mounted(await sn.prepare(ctx, `work-${parent}`, parent, { labels }), (at) => {
        assert.deepEqual(owner(at), [5000, 6000])
        assert.deepEqual(owner(join(at, 'a')), [5000, 6000])
        assert.deepEqual(owner(join(at, 'b')), [7002, 6034])
      })
      await mounted(await sn.view(ctx, `look-${parent}`, parent, { labels }), (at) =>
        assert.deepEqual(owner(join(at, 'b')), [7002, 6034]),
      )
    }
    await mounted(await sn.prepare(ctx, 'unmapped', 'two'), (at) =>
      assert.deepEqual(owner(join(at, 'b')), [12, 34]),
    )
  })

  check('a snapshot of nothing belongs to root of the container', async ({ ctx, sn }) => {
    await mounted(await sn.prepare(ctx, 'work', '', { labels }), (at) =>
      assert.deepEqual(owner(at), [5000, 6000]),
    )
    await sn.commit(ctx, 'base', 'work')
    await mounted(await sn.prepare(ctx, 'next', 'base', { labels }), (at) =>
      assert.deepEqual(owner(at), [5000, 6000]),
    )
  })

  check('many layers with long names are mapped', async ({ ctx, sn }) => {
    for (let at = 0; at < 110; at++) {
      const on = at === 0 ? '' : `layer-${at - 1}`
      await sn.prepare(ctx, `work-${at}`, on)
      await sn.commit(ctx, `layer-${at}`, `work-${at}`)
    }
    const mounts = await sn.prepare(ctx, 'work', 'layer-109', { labels })
    assert.ok(mounts[0] && mounts[0].options.join().length > 4096)
    await mounted(mounts, (at) => {
      assert.deepEqual(owner(at), [5000, 6000])
      write(at, { a: 'a' })
    })
  })

  check('a mapping that is none, or has no root, is refused', async ({ ctx, sn }) => {
    for (const wrong of ['0', '0:1:2:3x', '1:5000:10']) {
      const preparing = sn.prepare(ctx, 'work', '', { labels: { ...labels, [userKey]: wrong } })
      await rejectsWith('invalid_argument', preparing)
    }
    assert.deepEqual(await Array.fromAsync(sn.list(ctx)), [])
  })

  check(
    'where the kernel can not map, root of the snapshot is who it will be',
    async ({ ctx, sn, dir }) => {
      const [mount] = await sn.prepare(ctx, 'work', '', { labels })
      assert.deepEqual(mount?.options, ['rw', 'rbind'])
      assert.deepEqual(owner(dir('1', 'fs')), [5000, 6000])
    },
    false,
  )

  test('whether the kernel can map is found out by trying', async (t) => {
    if (!asRoot(t)) return
    await using dir = await mkdtempDisposable(join(tmpdir(), 'overlay-probe-'))
    assert.equal(mountsMapped(dir.path), supportsIdMapping(dir.path))
    assert.deepEqual(fs.readdirSync(dir.path), [])
  })
})
