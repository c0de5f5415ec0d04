import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'

import type { Context } from '#core/context.ts'
import type { Database } from '#lib/bolt/database.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { newContext } from '#testing/context.ts'
import { rejectsWith } from '#testing/rejects.ts'

import { MetaStore } from './meta-store.ts'
import { createSnapshot, getInfo, lastId, usedIds } from './storage.ts'

interface Given extends AsyncDisposable {
  readonly ctx: Context
  readonly db: Database
  readonly store: MetaStore
}

async function given(t: TestContext): Promise<Given> {
  await using made = new AsyncDisposableStack()
  const dir = made.use(await mkdtempDisposable(join(tmpdir(), 'snapshot-records-')))
  const db = await openDatabase(join(dir.path, 'metadata.db'))
  const store = made.use(new MetaStore(db))
  const held = made.move()
  return {
    ctx: newContext(t),
    db,
    store,
    [Symbol.asyncDispose]: async () => await held.disposeAsync(),
  }
}

const usage = async (): Promise<{ inodes: number; size: number }> =>
  await Promise.resolve({ inodes: 3, size: 300 })

async function commit({ ctx, store }: Given, name: string, parent = ''): Promise<void> {
  await store.create(ctx, { kind: 'active', key: `work-${name}`, parent })
  await store.commit(ctx, { name, key: `work-${name}` }, {}, usage)
}

suite('snapshot records', () => {
  test('records have the layout of containerd', async (t) => {
    await using g = await given(t)
    await commit(g, 'base')
    const labels = { a: '1', dropped: '' }
    await g.store.create(g.ctx, { kind: 'active', key: 'next', parent: 'base', labels })
    g.db.view((tx) => {
      const snapshots = tx.bucket('v1')?.bucket('snapshots')
      const hex = (record: string, key: string): string | undefined =>
        snapshots?.bucket(record)?.get(key)?.toHex()
      assert.equal(snapshots?.sequence, 2n)
      assert.deepEqual(
        ['id', 'kind', 'parent', 'inodes', 'size'].map((key) => hex('base', key)),
        ['01', '03', undefined, '06', 'd804'],
      )
      assert.deepEqual(
        ['id', 'kind', 'parent', 'inodes'].map((key) => hex('next', key)),
        ['02', '02', '62617365', undefined],
      )
      assert.match(hex('next', 'createdat') ?? '', /^01[0-9a-f]{24}ffff$/)
      const stored = snapshots?.bucket('next')?.bucket('labels')?.entries() ?? []
      assert.deepEqual(
        Array.from(stored, ({ key }) => Buffer.from(key).toString()),
        ['a'],
      )
      const links = tx.bucket('v1')?.bucket('parents')?.entries() ?? []
      assert.deepEqual(
        Array.from(links, ({ key, value }) => [key.toHex(), Buffer.from(value ?? []).toString()]),
        [['010002', 'next']],
      )
    })
  })

  test('a commit keeps the id and renames the link from the parent', async (t) => {
    await using g = await given(t)
    await commit(g, 'base')
    await commit(g, 'top', 'base')
    assert.equal(g.store.info('top').id, '2')
    assert.deepEqual(g.store.info('top').usage, { inodes: 3, size: 300 })
    g.db.view((tx) => {
      const link = tx
        .bucket('v1')
        ?.bucket('parents')
        ?.get(Uint8Array.of(1, 0, 2))
      assert.equal(Buffer.from(link ?? []).toString(), 'top')
    })
    const removing = g.store.remove(g.ctx, 'base')
    await rejectsWith('failed_precondition', removing)
    await g.store.remove(g.ctx, 'top')
    await g.store.remove(g.ctx, 'base')
  })

  test('children are not mixed up when ids get long', async (t) => {
    await using g = await given(t)
    for (let at = 0; at < 140; at++) await commit(g, `base-${at}`)
    await g.store.create(g.ctx, { kind: 'view', key: 'look', parent: 'base-128' })
    assert.equal(g.store.info('base-128').id, '129')
    await rejectsWith('failed_precondition', g.store.remove(g.ctx, 'base-128'))
    for (const base of [0, 1, 127, 129]) await g.store.remove(g.ctx, `base-${base}`)
    assert.deepEqual(g.store.snapshot('look').parentIds, ['129'])
  })

  test('a snapshot without a parent can get one when it is committed', async (t) => {
    await using g = await given(t)
    await commit(g, 'base')
    await commit(g, 'other')
    const prepare = { kind: 'active', key: 'work', parent: '' } as const
    await g.store.create(g.ctx, prepare)
    const names = { name: 'top', key: 'work' }
    const missing = g.store.commit(g.ctx, names, { parent: 'none' }, usage)
    await rejectsWith('not_found', missing)
    assert.equal(g.store.info('work').info.kind, 'active')
    await g.store.commit(g.ctx, names, { parent: 'base' }, usage)
    assert.equal(g.store.info('top').info.parent, 'base')
    await rejectsWith('failed_precondition', g.store.remove(g.ctx, 'base'))
    await g.store.create(g.ctx, { ...prepare, parent: 'base' })
    const moved = g.store.commit(g.ctx, { ...names, name: 'x' }, { parent: 'other' }, usage)
    await rejectsWith('invalid_argument', moved, /cannot change parent/)
    await g.store.commit(g.ctx, { ...names, name: 'x' }, { parent: 'base' }, usage)
  })

  test('a reserved id is used once, whatever the order of the records', async (t) => {
    await using g = await given(t)
    const options = (key: string) => ({ kind: 'active', parent: '', key }) as const
    const reserved = ['a', 'b', 'c'].map((key) => g.store.reserve(options(key)))
    assert.deepEqual(
      reserved.map(({ id }) => id),
      [1n, 2n, 3n],
    )
    await g.store.create(g.ctx, options('c'), reserved[2])
    await g.store.create(g.ctx, options('a'), reserved[0])
    await g.store.create(g.ctx, options('d'))
    assert.deepEqual(
      ['a', 'c', 'd'].map((key) => g.store.info(key).id),
      ['1', '3', '4'],
    )
    assert.equal(g.db.view(lastId), 4n)
    await rejectsWith(
      'already_exists',
      Promise.try(() => g.store.reserve(options('a'))),
    )
  })

  test('a parent that has become another is not a parent', async (t) => {
    await using g = await given(t)
    await commit(g, 'base')
    const options = { kind: 'active', key: 'work', parent: 'base' } as const
    const reserved = g.store.reserve(options)
    assert.equal(reserved.parentId, '1')
    await g.store.remove(g.ctx, 'base')
    await commit(g, 'base')
    await rejectsWith('aborted', g.store.create(g.ctx, options, reserved))
    await rejectsWith(
      'not_found',
      Promise.try(() => g.store.info('work')),
    )
    await g.store.create(g.ctx, options)
  })

  test('a commit measures again when the key became another snapshot', async (t) => {
    await using g = await given(t)
    const prepare = { kind: 'active', key: 'a', parent: '' } as const
    await g.store.create(g.ctx, prepare)
    const measured: string[] = []
    await g.store.commit(g.ctx, { name: 'top', key: 'a' }, {}, async (id) => {
      measured.push(id)
      if (id === '1') {
        await g.store.remove(g.ctx, 'a')
        await g.store.create(g.ctx, prepare)
      }
      return { inodes: Number(id), size: 0 }
    })
    assert.deepEqual(measured, ['1', '2'])
    assert.equal(g.store.info('top').usage.inodes, 2)
  })

  test('ids in use are seen before their commit is durable', async (t) => {
    await using g = await given(t)
    const [, used] = await Promise.all([
      g.db.update((tx) => createSnapshot(tx, { kind: 'active', key: 'a', parent: '' })),
      g.db.update((tx) => usedIds(tx)),
    ])
    assert.deepEqual([...used], [[g.db.view((tx) => getInfo(tx, 'a').id), 'active']])
  })
})
