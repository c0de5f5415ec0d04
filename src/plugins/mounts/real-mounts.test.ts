import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { suite, test } from 'node:test'

import type { Context } from '#core/context.ts'
import type { MountHandler } from '#core/mount/manager.ts'
import type { Mount } from '#core/mount/mount.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { attachLoop, detachLoop } from '#sys/loop.ts'
import { mountInfo } from '#sys/mount-info.ts'
import { mountAll, unmountRecursive } from '#sys/mount.ts'
import { newContext } from '#testing/context.ts'
import { eventually } from '#testing/eventually.ts'
import { mountHandlers } from '#testing/mounts.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { root } from '#testing/root.ts'

import { ErofsHandler } from './erofs/handler.ts'
import { BoltMountManager } from './manager.ts'

interface Given {
  readonly ctx: Context
  readonly dir: string
  readonly targets: string
  readonly manager: BoltMountManager
}

type Body = (given: Given) => Promise<void>

/** Nothing may be mounted or attached in the end. */
const asRoot = (title: string, body: Body, handlers = mountHandlers): void =>
  void test(title, async (t) => {
    if (!root(t)) return
    await using scratch = await mkdtempDisposable(join(tmpdir(), 'mounts-'))
    const dir = scratch.path
    using _leftovers = { [Symbol.dispose]: () => unmountRecursive(dir) }
    const targets = join(dir, 't')
    fs.mkdirSync(targets)
    await using manager = new BoltMountManager(await openDatabase(join(dir, 'mounts.db')), {
      targets,
      handlers,
      roots: [targets, dir],
      busyMs: 200,
    })
    await body({ ctx: newContext(t), dir, targets, manager })
    await manager.collector.recover(newContext(t))
    for (const { name } of await manager.list(newContext(t))) {
      await manager.deactivate(newContext(t), name)
    }
    assert.deepEqual(mountPoints(dir), [])
    assert.deepEqual(fs.readdirSync(targets), [])
    await eventually(async () => await Promise.resolve(loops(dir).length === 0 || undefined))
  })

const mountPoints = (dir: string): string[] =>
  mountInfo().flatMap(({ mountPoint }) => (mountPoint.startsWith(`${dir}/`) ? [mountPoint] : []))

/** The files below `dir` that are block devices, by device. */
function loops(dir: string): (readonly [device: string, file: string])[] {
  return fs.readdirSync('/sys/block').flatMap((name) => {
    const path = `/sys/block/${name}/loop/backing_file`
    const file = fs.existsSync(path) ? fs.readFileSync(path, 'utf8').trim() : ''
    return file.startsWith(dir) ? [[`/dev/${name}`, file] as const] : []
  })
}

const fileSystem = (dir: string): readonly Mount[] => [
  {
    type: 'mkfs/loop',
    source: join(dir, 'disk.img'),
    options: ['X-containerd.mkfs.size=4MiB', 'X-containerd.mkfs.fs=ext4'],
  },
  { type: 'format/ext4', source: '{{ mount 0 }}', options: [] },
]

void suite('mounts of files', () => {
  asRoot(
    'a file becomes a file system once, and a device for as long as it is active',
    async (given) => {
      const { ctx, dir, manager } = given
      for (const round of [1, 2]) {
        const { system } = await manager.activate(ctx, 'a', fileSystem(dir), { temporary: true })
        const [{ source: seen } = { source: '' }] = system
        assert.deepEqual(
          loops(dir).map(([, file]) => file),
          [join(dir, 'disk.img')],
        )
        if (round === 1) fs.writeFileSync(join(seen, 'kept'), 'text')
        else assert.equal(fs.readFileSync(join(seen, 'kept'), 'utf8'), 'text')
        await manager.deactivate(ctx, 'a')
        await eventually(async () => await Promise.resolve(loops(dir).length === 0 || undefined))
      }
      assert.deepEqual(fs.readdirSync(dir).toSorted(), ['disk.img', 'mounts.db', 't'])
    },
  )

  asRoot('what mkfs cannot make leaves no file', async ({ ctx, dir, manager }) => {
    const of = (...options: readonly string[]): readonly Mount[] => [
      { type: 'mkfs/loop', source: join(dir, 'disk.img'), options },
    ]
    const tries: readonly (readonly [readonly Mount[], RegExp])[] = [
      [of(), /requires mkfs\.size/],
      [of('X-containerd.mkfs.size=many'), /invalid size/],
      [
        of('X-containerd.mkfs.size=4m', 'X-containerd.mkfs.fs=ntfs'),
        /unsupported filesystem "ntfs"/,
      ],
      [
        of('X-containerd.mkfs.size=4m', 'X-containerd.mkfs.colour=red'),
        /unknown mount option colour/,
      ],
    ]
    for (const [mounts, message] of tries) {
      await rejectsWith('invalid_argument', manager.activate(ctx, 'a', mounts), message)
    }
    await assert.rejects(
      manager.activate(ctx, 'a', of('X-containerd.mkfs.size=1k')),
      /failed format/,
    )
    const outside = [{ type: 'mkfs/loop', source: '/disk.img', options: [] }]
    await rejectsWith('unimplemented', manager.activate(ctx, 'a', outside), /no root "\/disk\.img"/)
    assert.deepEqual(fs.readdirSync(dir).toSorted(), ['mounts.db', 't'])
  })

  asRoot('directories are made below the roots only, whatever links there are', async (given) => {
    const { ctx, dir, manager } = given
    const of = (option: string): readonly Mount[] => [
      { type: 'mkdir/bind', source: dir, options: [`X-containerd.mkdir.${option}`, 'rbind'] },
    ]
    fs.mkdirSync(join(dir, 'old'), { mode: 0o711 })
    fs.symlinkSync('/tmp', join(dir, 'out'))
    const done = await manager.activate(ctx, 'a', of(`path=${dir}/new:0750:7:8`))
    assert.deepEqual(done.system, [{ type: 'bind', source: dir, options: ['rbind'] }])
    const made = fs.statSync(join(dir, 'new'))
    assert.deepEqual([made.mode & 0o7777, made.uid, made.gid], [0o750, 7, 8])
    await manager.activate(ctx, 'b', of(`path=${dir}/old:0700`))
    assert.equal(fs.statSync(join(dir, 'old')).mode & 0o777, 0o711)

    const escape = manager.activate(ctx, 'c', of(`path=${dir}/out/${basename(dir)}-escaped`))
    await assert.rejects(escape, { code: 'EXDEV' })
    await rejectsWith('unimplemented', manager.activate(ctx, 'c', of('path=/escaped')))
    for (const wrong of [
      'dir=/a',
      'path=',
      `path=${dir}/x:9`,
      `path=${dir}/x:7:1`,
      `path=${dir}/x:1777`,
    ]) {
      await rejectsWith('invalid_argument', manager.activate(ctx, 'c', of(wrong)), /invalid/)
    }
  })

  asRoot(
    'a device that became another file’s is left alone',
    async ({ ctx, dir, targets, manager }) => {
      const file = join(dir, 'theirs')
      fs.writeFileSync(file, Buffer.alloc(1 << 20))
      const { path: device } = attachAndClose(file)
      try {
        // A daemon was killed between the link and its claim to the device, which went to others.
        const left = join(targets, '99')
        fs.mkdirSync(left)
        fs.writeFileSync(join(left, '1-type'), 'loop')
        fs.writeFileSync(join(left, '1-source'), join(dir, 'ours'))
        fs.symlinkSync(device, join(left, '1'))
        await manager.collector.recover(ctx)
        assert.deepEqual(fs.readdirSync(targets), [])
        assert.deepEqual(loops(dir), [[device, file]])
        const autoclear = fs.readFileSync(`/sys/block/${basename(device)}/loop/autoclear`, 'utf8')
        assert.equal(autoclear.trim(), '0')
      } finally {
        detachLoop(device)
      }
    },
  )

  asRoot(
    'what containerd has left is undone as its own',
    async ({ ctx, dir, targets, manager }) => {
      const file = join(dir, 'disk')
      fs.writeFileSync(file, Buffer.alloc(1 << 20))
      const left = join(targets, '7')
      fs.mkdirSync(join(left, '1'), { recursive: true })
      fs.writeFileSync(join(left, '2-type'), 'loop')
      fs.symlinkSync(attachAndClose(file).path, join(left, '2'))
      fs.writeFileSync(join(left, '1-type'), 'bind')
      mountAll([{ type: 'bind', source: dir, options: ['rbind'] }], join(left, '1'))
      await manager.collector.recover(ctx)
    },
  )
})

/** A device that stays, as losetup(8) makes it. */
function attachAndClose(file: string): { readonly path: string } {
  using device = attachLoop(file, { keep: true })
  return { path: device.path }
}

const throughLoops = new Map<string, MountHandler>([['erofs', new ErofsHandler(false)]])
const hasErofs = fs.readFileSync('/proc/filesystems', 'utf8').includes('\terofs\n')

void suite('mounts of erofs images', { skip: !hasErofs && 'the kernel has no erofs' }, () => {
  for (const [how, handlers] of [
    ['from files', mountHandlers],
    ['through devices', throughLoops],
  ] as const) {
    const body: Body = async ({ ctx, dir, manager }) => {
      const source = join(dir, 'source')
      fs.mkdirSync(source)
      fs.writeFileSync(join(source, 'file'), 'text')
      execFileSync('mkfs.erofs', ['--quiet', join(dir, 'image'), source])
      const image = { type: 'erofs', source: join(dir, 'image'), options: ['ro', 'loop'] }
      const { active, system } = await manager.activate(ctx, 'a', [image], { temporary: true })
      assert.equal(fs.readFileSync(join(system[0]?.source ?? '', 'file'), 'utf8'), 'text')
      assert.equal(active[0]?.source.startsWith('/dev/loop'), how === 'through devices')
      assert.equal(loops(dir).length, how === 'through devices' ? 1 : 0)
      const checked = { ...image, options: [`X-containerd.dmverity=${dir}/none`] }
      await rejectsWith('unimplemented', manager.activate(ctx, 'b', [checked]), /dm-verity/)
    }
    asRoot(`are made ${how}`, body, handlers)
  }
})
