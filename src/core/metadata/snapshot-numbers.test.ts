import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import type { Context } from '#core/context.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { OverlaySnapshotter } from '#plugins/snapshots/overlay/overlay.ts'
import { newContext } from '#testing/context.ts'
import { testMetadata } from '#testing/metadata.ts'

import { SnapshotNumbers, takeBlock } from './snapshot-numbers.ts'

const overlay = { asyncRemove: false, upperdirLabel: false, mountOptions: [] }

/** A daemon's life on `root`. */
async function live(
  ctx: Context,
  root: string,
  body: (sn: Snapshotter, remove: () => Promise<void>) => Promise<void>,
): Promise<string[]> {
  const backend = await OverlaySnapshotter.open(ctx, join(root, 'overlayfs'), overlay)
  const snapshotters = new Map([['overlayfs', backend]])
  await using opened = await testMetadata(ctx, root, { snapshotters })
  const sn = opened.metadata.snapshotters.get('overlayfs')
  assert.ok(sn)
  const remove = async (): Promise<void> => {
    for await (const { name } of sn.list(ctx)) await sn.remove(ctx, name)
    await opened.metadata.namespaces.delete(ctx, 'testing')
  }
  await body(sn, remove)
  return await Array.fromAsync(backend.list(ctx), ({ name }) => name)
}

const numberIn = (name: string): number => Number(name.split('/')[1])

void suite('numbers of snapshots', () => {
  void test('no two snapshots have one, whoever makes them and when', async (t) => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'numbers-'))
    const ctx = newContext(t)
    for (let day = 0; day < 3; day++) {
      await live(ctx, dir.path, async (sn) => {
        const keys = Array.from({ length: 70 }, (_, n) => `${day}-${n}`)
        for (const key of keys.slice(0, 5)) await sn.prepare(ctx, key, '')
        await Promise.all(keys.slice(5).map(async (key) => await sn.prepare(ctx, key, '')))
        for (const key of keys.slice(0, 5)) await sn.commit(ctx, `as-${key}`, key)
      })
    }
    const names = await live(ctx, dir.path, async () => await Promise.resolve())
    assert.equal(names.length, 210)
    assert.equal(new Set(names.map(numberIn)).size, 210)
  })

  void test('a namespace that was deleted begins anew, with numbers that are written down', async (t) => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'numbers-'))
    const ctx = newContext(t)
    const names = await live(ctx, dir.path, async (sn, remove) => {
      await sn.prepare(ctx, 'a', '')
      await remove()
      await sn.prepare(ctx, 'b', '')
      await sn.prepare(ctx, 'c', '')
    })
    assert.deepEqual(names.filter((name) => !name.endsWith('/a')).toSorted(), [
      'testing/1/b',
      'testing/2/c',
    ])
  })

  void test('one whose block is not on disk is not given out', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'numbers-'))
    await using database = await openDatabase(join(dir.path, 'db'))
    const numbers = new SnapshotNumbers()
    const block = await database.update((tx) => takeBlock(tx.createBucketIfNotExists('b')))
    const counter = database.view((tx) => tx.bucket('b')?.sequence ?? 0n)
    assert.equal(numbers.take('ns', counter), undefined)
    assert.equal(numbers.open('ns', block), 1n)
    assert.equal(numbers.take('ns', counter - 1n), undefined)
    const taken: bigint[] = []
    for (let n; (n = numbers.take('ns', counter)) !== undefined; ) taken.push(n)
    assert.deepEqual([taken[0], taken.at(-1), taken.length], [2n, counter, Number(counter) - 1])
    assert.equal(numbers.take('other', counter), undefined)
  })
})
