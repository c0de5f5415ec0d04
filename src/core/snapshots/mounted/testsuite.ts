import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { join } from 'node:path'

import type { Context } from '#core/context.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import { layer, mounted, read, write } from '#testing/layers.ts'

type Check = (
  title: string,
  body: (given: { readonly ctx: Context; readonly sn: Snapshotter }) => Promise<void>,
) => void

interface Supports {
  readonly packs?: boolean
  readonly inFile?: boolean
  readonly blocks?: boolean
  readonly depth?: number
}

/** What is in snapshots once they are mounted, which takes root. */
export function checkMounted(check: Check, supports: Supports = {}): void {
  checkFiles(check)
  checkAttributes(check)
  if (supports.blocks) checkBlocks(check)
  else checkUsage(check, supports)
  checkLayers(check, supports.depth ?? 128)
}

function checkFiles(check: Check): void {
  check('what is written is seen above, and nowhere else', async ({ ctx, sn }) => {
    await layer(ctx, sn, { name: 'base' }, (dir) => write(dir, { a: '1', b: '1' }))
    await layer(ctx, sn, { name: 'top', on: 'base' }, (dir) => {
      assert.deepEqual(read(dir), { a: '1', b: '1' })
      write(dir, { b: '2', c: '2' })
      fs.rmSync(join(dir, 'a'))
    })
    const sibling = await sn.prepare(ctx, 'sibling', 'base')
    const above = await sn.prepare(ctx, 'above', 'top')
    await mounted(sibling, (dir) => assert.deepEqual(read(dir), { a: '1', b: '1' }))
    await mounted(above, (dir) => assert.deepEqual(read(dir), { b: '2', c: '2' }))
  })

  check('a view can be read and not written', async ({ ctx, sn }) => {
    await layer(ctx, sn, { name: 'base' }, (dir) => write(dir, { a: '1' }))
    await layer(ctx, sn, { name: 'top', on: 'base' }, (dir) => write(dir, { b: '2' }))
    for (const [parent, files] of [
      ['', {}],
      ['base', { a: '1' }],
      ['top', { a: '1', b: '2' }],
    ] as const) {
      await mounted(await sn.view(ctx, `look-${parent}`, parent), (dir) => {
        assert.deepEqual(read(dir), files)
        assert.throws(() => write(dir, { x: '' }), { code: 'EROFS' })
      })
    }
  })

  check('a directory made anew hides what was in it below', async ({ ctx, sn }) => {
    await layer(ctx, sn, { name: 'base' }, (dir) => {
      fs.mkdirSync(join(dir, 'sub'))
      write(join(dir, 'sub'), { a: '1' })
    })
    await layer(ctx, sn, { name: 'top', on: 'base' }, (dir) => {
      fs.rmSync(join(dir, 'sub'), { recursive: true })
      fs.mkdirSync(join(dir, 'sub'))
      write(join(dir, 'sub'), { b: '2' })
    })
    const view = await sn.view(ctx, 'look', 'top')
    await mounted(view, (dir) => assert.deepEqual(read(join(dir, 'sub')), { b: '2' }))
  })
}

function checkAttributes(check: Check): void {
  check('owner and mode of the root come from below', async ({ ctx, sn }) => {
    const mode = (dir: string): readonly number[] => {
      const stat = fs.statSync(dir)
      return [stat.uid, stat.gid, stat.mode & 0o777]
    }
    await layer(ctx, sn, { name: 'base' }, (dir) => {
      assert.deepEqual(mode(dir), [0, 0, 0o755])
      fs.chownSync(dir, 1234, 4321)
    })
    const above = await sn.prepare(ctx, 'above', 'base')
    await mounted(above, (dir) => assert.deepEqual(mode(dir), [1234, 4321, 0o755]))
  })
}

function checkBlocks(check: Check): void {
  check('a snapshot knows what it uses', async ({ ctx, sn }) => {
    const mounts = await sn.prepare(ctx, 'work', '')
    const before = await sn.usage(ctx, 'work')
    await mounted(mounts, (dir) => write(dir, { a: 'x'.repeat(500_000) }))
    const after = await sn.usage(ctx, 'work')
    assert.equal(after.inodes, 1)
    assert.ok(after.size >= before.size + 400_000 && after.size < before.size + 2_000_000)
    await sn.commit(ctx, 'base', 'work')
    assert.deepEqual(await sn.usage(ctx, 'base'), after)
  })
}

function checkUsage(check: Check, { packs, inFile }: Supports): void {
  check('a snapshot knows what it uses', async ({ ctx, sn }) => {
    const mounts = await sn.prepare(ctx, 'work', '')
    const before = await sn.usage(ctx, 'work')
    await mounted(mounts, (dir) => {
      write(dir, { a: 'x'.repeat(100_000) })
      fs.linkSync(join(dir, 'a'), join(dir, 'b'))
    })
    const after = await sn.usage(ctx, 'work')
    assert.equal(after.inodes, before.inodes + 1)
    assert.ok(
      after.size >= before.size + 100_000 &&
        after.size < before.size + (inFile ? 4 << 20 : 200_000),
    )
    await sn.commit(ctx, 'base', 'work')
    const committed = await sn.usage(ctx, 'base')
    assert.deepEqual(committed, packs ? { inodes: 1, size: committed.size } : after)
    assert.ok(committed.size >= 100_000 && committed.size < after.size + 100_000)
  })
}

function checkLayers(check: Check, count: number): void {
  check(`${count} layers are one tree`, async ({ ctx, sn }) => {
    const names = Array.from({ length: count }, (_, at) => `layer-${at}`)
    for (const [at, name] of names.entries()) {
      const on = names[at - 1] ?? ''
      if (at % 16 === 0 || at === count - 1) {
        await layer(ctx, sn, { name, on }, (dir) => write(dir, { last: name, [name]: '' }))
      } else {
        await sn.prepare(ctx, `work-${name}`, on)
        await sn.commit(ctx, name, `work-${name}`)
      }
    }
    await mounted(await sn.prepare(ctx, 'work', `layer-${count - 1}`), (dir) => {
      const files = read(dir)
      assert.equal(Object.keys(files).length, Math.ceil((count - 1) / 16) + 2)
      assert.equal(files['last'], `layer-${count - 1}`)
      write(dir, { more: '' })
    })
  })
}
