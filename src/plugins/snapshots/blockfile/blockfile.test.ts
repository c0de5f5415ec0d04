import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, type TestContext, test } from 'node:test'

import type { Context } from '#core/context.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import { snapshotterSuite } from '#core/snapshots/testsuite.ts'
import { SkipPlugin } from '#plugin/plugin.ts'
import { newContext } from '#testing/context.ts'
import { ext4File } from '#testing/ext4-file.ts'

import { type BlockfileOptions, openBlockfile } from './blockfile.ts'

const scratch = ext4File()
after(() => scratch[Symbol.dispose]())
const scratchFile = scratch.path

const plain: BlockfileOptions = {
  scratchFile,
  recreateScratch: false,
  fsType: 'ext4',
  mountOptions: [],
}

snapshotterSuite('blockfile', newContext, (ctx, root) => openBlockfile(ctx, root, plain), {
  blocks: true,
})

interface Given {
  readonly ctx: Context
  readonly root: string
  readonly open: (options?: Partial<BlockfileOptions>) => Promise<Snapshotter>
}

const check = (title: string, body: (given: Given, t: TestContext) => Promise<void>): void =>
  void test(title, async (t) => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'blockfile-'))
    const ctx = newContext(t)
    const open = async (options: Partial<BlockfileOptions> = {}): Promise<Snapshotter> =>
      await openBlockfile(ctx, dir.path, { ...plain, ...options })
    await body({ ctx, root: dir.path, open }, t)
  })

suite('blockfile snapshotter on disk', () => {
  check('a snapshot is a file, and a view is its parent', async ({ ctx, root, open }) => {
    await using sn = await open({ mountOptions: ['noatime'] })
    const mount = (id: number, access: string): object[] => [
      {
        type: 'ext4',
        source: join(root, 'snapshots', String(id)),
        options: ['noatime', 'loop', access],
      },
    ]
    assert.deepEqual(await sn.prepare(ctx, 'a', ''), mount(1, 'rw'))
    await sn.commit(ctx, 'one', 'a')
    assert.deepEqual(await sn.prepare(ctx, 'b', 'one'), mount(2, 'rw'))
    assert.deepEqual(await sn.view(ctx, 'look', 'one'), mount(1, 'ro'))
    assert.deepEqual(await sn.view(ctx, 'empty', ''), mount(4, 'ro'))
    assert.deepEqual(fs.readdirSync(join(root, 'snapshots')).toSorted(), ['1', '2', '4'])
    assert.equal(fs.statSync(join(root, 'snapshots/1')).mode & 0o777, 0o600)
    for (const key of ['b', 'look', 'empty', 'one']) await sn.remove(ctx, key)
    assert.deepEqual(fs.readdirSync(join(root, 'snapshots')), [])
  })

  check('copies have holes where the scratch has, and count what they have more', async (given) => {
    const { ctx, root, open } = given
    await using sn = await open()
    await sn.prepare(ctx, 'a', '')
    const used = await sn.usage(ctx, 'a')
    assert.ok(used.size < 4 << 20, String(used.size))
    await sn.commit(ctx, 'one', 'a')
    await sn.prepare(ctx, 'b', 'one')
    const file = join(root, 'snapshots/2')
    const fd = fs.openSync(file, 'r+')
    fs.writeSync(fd, Buffer.alloc(1 << 20, 1), 0, 1 << 20, 6 << 20)
    fs.fsyncSync(fd)
    fs.closeSync(fd)
    const more = await sn.usage(ctx, 'b')
    assert.ok(more.size >= (1 << 20) - 65_536 && more.size < 3 << 20, String(more.size))
    await sn.commit(ctx, 'two', 'b')
    assert.deepEqual(await sn.usage(ctx, 'two'), more)
  })

  check('the scratch is copied once, or each time', async ({ root, open }) => {
    const copy = join(root, 'scratch')
    await (await open())[Symbol.asyncDispose]()
    fs.writeFileSync(copy, 'mine')
    await (await open({ scratchFile: '/no/such' }))[Symbol.asyncDispose]()
    assert.equal(fs.readFileSync(copy, 'utf8'), 'mine')
    await (await open({ recreateScratch: true }))[Symbol.asyncDispose]()
    assert.ok(fs.readFileSync(copy).equals(fs.readFileSync(scratchFile)))
  })

  check('without a scratch there is no snapshotter', async ({ root, open }) => {
    await assert.rejects(open({ scratchFile: '' }), (err) => err instanceof SkipPlugin)
    await assert.rejects(open({ scratchFile: join(root, 'none') }), {
      message: 'failed to generate scratch file',
    })
    assert.deepEqual(fs.readdirSync(root).toSorted(), ['snapshots'])
  })
})
