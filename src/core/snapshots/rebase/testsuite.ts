import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { join } from 'node:path'

import type { Context } from '#core/context.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import { layer, mounted, read, write } from '#testing/layers.ts'
import { rejectsWith } from '#testing/rejects.ts'

type Check = (
  title: string,
  body: (given: { readonly ctx: Context; readonly sn: Snapshotter }) => Promise<void>,
) => void

/** Snapshots that get a parent when they are committed; what is in them is looked at as root. */
export function checkRebase(check: Check, checkAsRoot: Check): void {
  check('a commit can put a snapshot on a parent', async ({ ctx, sn }) => {
    await empty(ctx, sn, 'base')
    await sn.prepare(ctx, 'work', '')
    await rejectsWith('not_found', sn.commit(ctx, 'top', 'work', { parent: 'none' }))
    assert.equal((await sn.stat(ctx, 'work')).kind, 'active')
    await sn.commit(ctx, 'top', 'work', { parent: 'base' })
    assert.equal((await sn.stat(ctx, 'top')).parent, 'base')
    await rejectsWith('failed_precondition', sn.remove(ctx, 'base'))
    await sn.remove(ctx, 'top')
    await sn.remove(ctx, 'base')
  })

  check('the parent of a commit is a committed snapshot', async ({ ctx, sn }) => {
    await sn.prepare(ctx, 'other', '')
    await sn.prepare(ctx, 'work', '')
    await rejectsWith('failed_precondition', sn.commit(ctx, 'top', 'work', { parent: 'other' }))
    await sn.commit(ctx, 'top', 'work')
  })

  checkAsRoot(
    'layers made apart are one tree once they are on one another',
    async ({ ctx, sn }) => {
      await layer(ctx, sn, { name: 'one' }, (dir) => {
        fs.mkdirSync(join(dir, 'sub'))
        write(join(dir, 'sub'), { a: '1', b: '1' })
      })
      const names = ['two', 'three', 'four']
      const prepared = await Promise.all(
        names.map(async (name) => await sn.prepare(ctx, `work-${name}`, '')),
      )
      for (const [at, mounts] of prepared.entries()) {
        await mounted(mounts, (dir) => {
          fs.mkdirSync(join(dir, 'sub'))
          write(join(dir, 'sub'), { b: names[at] ?? '', [`only-${at}`]: '' })
        })
      }
      const below = ['one', ...names]
      for (const [at, name] of names.entries()) {
        await sn.commit(ctx, name, `work-${name}`, { parent: below[at] ?? '' })
      }
      await mounted(await sn.view(ctx, 'look', 'four'), (dir) =>
        assert.deepEqual(read(join(dir, 'sub')), {
          a: '1',
          b: 'four',
          'only-0': '',
          'only-1': '',
          'only-2': '',
        }),
      )
    },
  )
}

/** What those owe that cannot: to say so, and not to lose what is below. */
export function checkNoRebase(check: Check): void {
  check('a commit on a parent that came too late is refused', async ({ ctx, sn }) => {
    await empty(ctx, sn, 'base')
    await sn.prepare(ctx, 'work', '')
    await rejectsWith('unimplemented', sn.commit(ctx, 'top', 'work', { parent: 'base' }))
    await sn.commit(ctx, 'top', 'work')
    assert.equal((await sn.stat(ctx, 'top')).parent, '')
    await sn.prepare(ctx, 'next', 'base')
    await sn.commit(ctx, 'above', 'next', { parent: 'base' })
    assert.equal((await sn.stat(ctx, 'above')).parent, 'base')
  })
}

/** For snapshotters with the `settleCapability`. */
export function checkSettle(check: Check): void {
  check('a commit on another parent tells what is below', async ({ ctx, sn }) => {
    for (const [name, parent] of [
      ['one', ''],
      ['two', 'one'],
    ] as const) {
      const mounts = await sn.prepare(ctx, `work-${name}`, parent)
      await mounted(mounts, (dir) => write(dir, { [name]: name }))
      await sn.commit(ctx, name, `work-${name}`)
    }
    const [mount] = await sn.prepare(ctx, 'work', '')
    await sn.commit(ctx, 'top', 'work', {
      parent: 'two',
      settle: async (below) => {
        assert.deepEqual(below.map(read), [{ two: 'two' }, { one: 'one' }])
        assert.equal((await sn.stat(ctx, 'work')).kind, 'active')
        write(mount?.source ?? '', { settled: 'yes' })
      },
    })
    await mounted(await sn.view(ctx, 'look', 'top'), (dir) =>
      assert.deepEqual(read(dir), { one: 'one', settled: 'yes', two: 'two' }),
    )
  })

  check('what cannot be settled is not committed', async ({ ctx, sn }) => {
    await empty(ctx, sn, 'base')
    await sn.prepare(ctx, 'work', '')
    const settle = async (): Promise<void> => await Promise.reject(new Error('cannot'))
    await assert.rejects(sn.commit(ctx, 'top', 'work', { parent: 'base', settle }), /cannot/)
    assert.equal((await sn.stat(ctx, 'work')).kind, 'active')
    await sn.commit(ctx, 'top', 'work', { parent: 'base' })
  })
}

async function empty(ctx: Context, sn: Snapshotter, name: string): Promise<void> {
  await sn.prepare(ctx, `empty-${name}`, '')
  await sn.commit(ctx, name, `empty-${name}`)
}
