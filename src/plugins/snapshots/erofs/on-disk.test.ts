import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import type { Context } from '#core/context.ts'
import { InodeFlag, setInodeFlag } from '#sys/inode-flags.ts'
import { newContext } from '#testing/context.ts'
import { layer, mounted, read, write } from '#testing/layers.ts'
import { holdMounts } from '#testing/mounts.ts'
import { rejectsWith } from '#testing/rejects.ts'

import { type ErofsOptions, ErofsSnapshotter } from './erofs.ts'
import { missingForErofs, supportsIdMapping } from './probe.ts'

const skip = (process.getuid?.() !== 0 && 'needs root') || (missingForErofs() ?? false)

const plain: ErofsOptions = {
  overlayOptions: ['index=off'],
  immutable: false,
  writableBytes: 0,
  verity: 'auto',
  remapIds: true,
}

interface Given {
  readonly ctx: Context
  readonly sn: ErofsSnapshotter
  readonly path: (...parts: readonly string[]) => string
  readonly reopen: () => Promise<ErofsSnapshotter>
}

const check = (
  title: string,
  body: (given: Given) => Promise<void>,
  options: Partial<ErofsOptions> = {},
): void =>
  void test(title, async (t) => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'erofs-'))
    const ctx = newContext(t)
    const open = async (): Promise<ErofsSnapshotter> =>
      await ErofsSnapshotter.open(ctx, dir.path, { ...plain, ...options })
    let sn = await open()
    await using last = new AsyncDisposableStack()
    last.defer(async () => await sn[Symbol.asyncDispose]())
    await body({
      ctx,
      sn,
      path: (...parts) => join(dir.path, 'snapshots', ...parts),
      reopen: async () => {
        await sn[Symbol.asyncDispose]()
        sn = await open()
        return sn
      },
    })
  })

const cacheDir = join(tmpdir(), `erofs-cache-${process.pid}`)

const files = (dir: string): string[] => fs.readdirSync(dir).toSorted()
const committed = ['.erofslayer', 'fs', 'layer.erofs', 'work']
const image = (source: string): object => ({ type: 'erofs', source, options: ['ro', 'loop'] })

void suite('erofs snapshots on disk', { skip }, () => {
  check('mounts are images, nearest first, below an overlay', async ({ ctx, sn, path }) => {
    const bind = { type: 'bind', source: path('1', 'fs'), options: ['rw', 'rbind'] }
    assert.deepEqual(await sn.prepare(ctx, 'a', ''), [bind])
    await sn.commit(ctx, 'one', 'a')
    const images = [image(path('1', 'layer.erofs'))]
    const upper = (id: string): string[] => [
      `workdir=${path(id, 'work')}`,
      `upperdir=${path(id, 'fs')}`,
    ]
    const overlay = (...options: string[]): object => ({
      type: 'format/mkdir/overlay',
      source: 'overlay',
      options: [...options, 'index=off'],
    })
    const over = overlay(...upper('2'), 'lowerdir={{ mount 0 }}')
    assert.deepEqual(await sn.prepare(ctx, 'b', 'one'), [...images, over])
    assert.deepEqual(await sn.view(ctx, 'look', 'one'), images)
    await sn.commit(ctx, 'two', 'b')
    const both = [image(path('2', 'layer.erofs')), ...images]
    assert.deepEqual(await sn.view(ctx, 'look2', 'two'), [
      ...both,
      overlay('lowerdir={{ overlay 0 1 }}'),
    ])
    assert.deepEqual(await sn.prepare(ctx, 'c', 'two'), [
      ...both,
      overlay(...upper('5'), 'lowerdir={{ overlay 0 1 }}'),
    ])
    // One index stands for all below it.
    fs.writeFileSync(path('1', 'fsmeta.erofs'), 'x')
    const device = `device=${path('1', 'layer.erofs')}`
    const merged = { ...image(path('1', 'fsmeta.erofs')), options: ['ro', 'loop', device] }
    assert.deepEqual((await sn.mounts(ctx, 'c'))[1], merged)
  })

  check('only the image stays of what was written', async ({ ctx, sn, path }) => {
    await layer(ctx, sn, { name: 'one' }, (dir) => write(dir, { a: '1' }))
    assert.deepEqual(files(path('1')), committed)
    assert.deepEqual(files(path('1', 'fs')), [])
  })

  check('a commit that fails keeps what was written, and makes no image of it', async (given) => {
    const { ctx, sn, path } = given
    await layer(ctx, sn, { name: 'one' }, (dir) => write(dir, { a: '1' }))
    const mounts = await sn.prepare(ctx, 'b', 'one')
    await mounted(mounts, (dir) => write(dir, { b: '1' }))
    await rejectsWith('already_exists', sn.commit(ctx, 'one', 'b'), /committed snapshot one/)
    const parent = sn.commit(ctx, 'two', 'b', { parent: 'other' })
    await rejectsWith('invalid_argument', parent)
    assert.deepEqual(files(path('2')), ['.erofslayer', 'fs', 'work'])
    await mounted(mounts, (dir) => write(dir, { c: '2' }))
    await sn.commit(ctx, 'two', 'b')
    await mounted(await sn.view(ctx, 'look', 'two'), (dir) =>
      assert.deepEqual(read(dir), { a: '1', b: '1', c: '2' }),
    )
  })

  check('a commit that a daemon was killed in is made again', async ({ ctx, sn, path, reopen }) => {
    const mounts = await sn.prepare(ctx, 'a', '')
    await mounted(mounts, (dir) => write(dir, { a: '1' }))
    // Killed before the image has its name, and after it has it but before the record.
    for (const names of [['layer.erofs.new'], ['layer.erofs.new', 'layer.erofs']]) {
      for (const name of names) fs.writeFileSync(path('1', name), 'half an image')
      const again = await reopen()
      assert.deepEqual(await again.mounts(ctx, 'a'), mounts)
    }
    const again = await reopen()
    await again.commit(ctx, 'one', 'a')
    assert.deepEqual(files(path('1')), committed)
    await mounted(await again.view(ctx, 'look', 'one'), (dir) =>
      assert.deepEqual(read(dir), { a: '1' }),
    )
  })

  check('what a daemon was killed in removing is removed by a clean-up', async (given) => {
    const { ctx, sn, path, reopen } = given
    await layer(ctx, sn, { name: 'one' }, (dir) => write(dir, { a: '1' }))
    fs.linkSync(path('1', 'layer.erofs'), path('1', 'layer.erofs.new'))
    fs.writeFileSync(path('1', 'fs', 'left'), '')
    const again = await reopen()
    const refused = again.commit(ctx, 'other', 'one')
    await rejectsWith('failed_precondition', refused, /"one" is not active/)
    await again.cleanup(ctx)
    assert.deepEqual(files(path('1')), committed)
    assert.deepEqual(files(path('1', 'fs')), [])
    await mounted(await again.view(ctx, 'look', 'one'), (dir) =>
      assert.deepEqual(read(dir), { a: '1' }),
    )
  })

  check(
    'an immutable image is removed by its snapshotter only',
    async ({ ctx, sn, path }) => {
      await layer(ctx, sn, { name: 'one' }, (dir) => write(dir, { a: '1' }))
      const file = path('1', 'layer.erofs')
      try {
        assert.throws(() => fs.rmSync(file), { code: 'EPERM' })
        await sn.remove(ctx, 'one')
        assert.deepEqual(files(path()), [])
      } finally {
        if (fs.existsSync(file)) setInodeFlag(file, InodeFlag.immutable, false)
      }
    },
    { immutable: true },
  )

  check(
    'a label says how large the file may get that takes what is written',
    async ({ ctx, sn, path }) => {
      const sizeOf = async (key: string, label?: string): Promise<string | undefined> => {
        const labels = label ? { 'containerd.io/snapshot/max-size': label } : {}
        const [first] = await sn.prepare(ctx, key, '', { labels })
        assert.deepEqual([first?.type, first?.source], ['mkfs/ext4', path(key, 'rwlayer.img')])
        return first?.options.find((option) => option.includes('.size='))?.split('=')[1]
      }
      assert.equal(await sizeOf('1'), String(8 << 20))
      assert.equal(await sizeOf('2', '4194304'), '4194304')
      for (const [at, wrong] of ['-1', '1GiB', '0'].entries()) {
        assert.equal(await sizeOf(String(at + 3), wrong), String(8 << 20))
      }
    },
    { writableBytes: 8 << 20 },
  )

  check(
    'a file of what is written is mounted once, and not committed meanwhile',
    async ({ ctx, sn }) => {
      const mounts = await sn.prepare(ctx, 'a', '')
      {
        await using held = await holdMounts(mounts)
        write(held.system[0]?.source ?? '', { a: '1' })
        await rejectsWith('failed_precondition', holdMounts(mounts), /rwlayer\.img is in use, as/)
        await rejectsWith('failed_precondition', sn.commit(ctx, 'one', 'a'), /is in use/)
      }
      await sn.commit(ctx, 'one', 'a')
      await mounted(await sn.view(ctx, 'look', 'one'), (dir) =>
        assert.deepEqual(read(dir), { a: '1' }),
      )
    },
    { writableBytes: 8 << 20 },
  )

  for (const verity of ['auto', 'on', 'off'] as const) {
    const body = async ({ ctx, sn, path }: Given): Promise<void> => {
      await layer(ctx, sn, { name: 'one' })
      const look = sn.view(ctx, 'look', 'one')
      if (verity === 'on')
        await rejectsWith('failed_precondition', look, /layer\.erofs\.dmverity is missing/)
      else assert.deepEqual(await look, [image(path('1', 'layer.erofs'))])
      const sidecar = path('1', 'layer.erofs.dmverity')
      fs.writeFileSync(sidecar, '{}')
      const [mount] = await sn.view(ctx, 'again', 'one')
      const option = verity === 'off' ? [] : [`X-containerd.dmverity=${sidecar}`]
      assert.deepEqual(mount?.options, ['ro', 'loop', ...option])
    }
    check(`dm-verity ${verity}: images are to be checked as that says`, body, { verity })
  }

  check('layers belong to the users of a container that labels map', async ({ ctx, sn, path }) => {
    if (!supportsIdMapping()) return
    const labels = {
      'containerd.io/snapshot/uidmapping': '0:5000:10',
      'containerd.io/snapshot/gidmapping': '0:6000:10',
    }
    await layer(ctx, sn, { name: 'one' }, (dir) => {
      write(dir, { a: '1', b: '1' })
      fs.chownSync(join(dir, 'b'), 1, 2)
    })
    const mounts = await sn.prepare(ctx, 'b', 'one', { labels })
    assert.ok(mounts.at(-1)?.options.includes('uidmap=0:5000:10'))
    const owner = (file: string): readonly number[] => {
      const { uid, gid } = fs.statSync(file)
      return [uid, gid]
    }
    assert.deepEqual(owner(path('2', 'fs')), [5000, 6000])
    await mounted(mounts, (dir) => {
      assert.deepEqual(owner(dir), [5000, 6000])
      assert.deepEqual(owner(join(dir, 'a')), [5000, 6000])
      assert.deepEqual(owner(join(dir, 'b')), [5001, 6002])
    })
    const wrong = { 'containerd.io/snapshot/uidmapping': 'all' }
    await rejectsWith('invalid_argument', sn.prepare(ctx, 'c', 'one', { labels: wrong }))
  })

  check(
    'an image of a cache is used for its layer, and left alone',
    async (given) => {
      const { ctx, path, sn } = given
      await layer(ctx, sn, { name: 'made' }, (dir) => write(dir, { cached: 'yes' }))
      const hex = 'ab'.repeat(32)
      const cached = join(cacheDir, 'sha256', 'ab', `${hex}.erofs`)
      fs.mkdirSync(join(cacheDir, 'sha256', 'ab'), { recursive: true })
      fs.copyFileSync(path('1', 'layer.erofs'), cached)
      fs.writeFileSync(`${cached}.dmverity`, '{}')
      try {
        const of = (diffId: string, ref = 'chain'): object => ({
          labels: {
            'containerd.io/snapshot.ref': ref,
            'containerd.io/snapshot/diff-id': diffId,
          },
        })
        for (const labels of [
          of(`sha256:${'cd'.repeat(32)}`),
          of('sha256:../..'),
          of(`sha256:${hex}`, ''),
        ]) {
          assert.equal((await sn.prepare(ctx, 'miss', '', labels))[0]?.type, 'bind')
          await sn.remove(ctx, 'miss')
        }
        const above = await sn.prepare(ctx, 'above', 'made', of(`sha256:${hex}`))
        assert.equal(above.at(-1)?.type, 'format/mkdir/overlay')
        const [hit] = await sn.prepare(ctx, 'hit', '', of(`sha256:${hex}`))
        assert.equal(hit?.type, 'erofs')
        assert.ok(hit.options.some((option) => option.startsWith('X-containerd.dmverity=')))
        await sn.commit(ctx, 'one', 'hit', { parent: 'made' })
        const dir = path(hit.source.split('/').at(-2) ?? '')
        fs.rmSync(join(dir, 'layer.erofs.dmverity'))
        await mounted(await sn.view(ctx, 'look', 'one'), (seen) =>
          assert.deepEqual(read(seen), { cached: 'yes' }),
        )
        await sn.remove(ctx, 'look')
        await sn.remove(ctx, 'one')
        assert.ok(fs.existsSync(cached) && !fs.existsSync(dir))
      } finally {
        fs.rmSync(cacheDir, { recursive: true })
      }
    },
    { caches: [join(tmpdir(), 'no-such-cache'), cacheDir] },
  )

  test('fs-verity is refused where the file system has none', async (t) => {
    if (fs.existsSync('/sys/fs/ext4/features/verity')) return t.skip('the kernel has fs-verity')
    await using dir = await mkdtempDisposable(join(tmpdir(), 'erofs-'))
    const opening = ErofsSnapshotter.open(newContext(t), dir.path, { ...plain, fsVerity: true })
    await rejectsWith('failed_precondition', opening, /fsverity is not supported/)
    assert.deepEqual(fs.readdirSync(dir.path), ['snapshots'])
  })
})
