import assert from 'node:assert/strict'
import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import type { Context } from '#core/context.ts'
import type { ActiveMount, MountHandler } from '#core/mount/manager.ts'
import type { Mount } from '#core/mount/mount.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { withMetadata } from '#testing/metadata.ts'
import { rejectsWith } from '#testing/rejects.ts'

import { BoltMountManager } from './manager.ts'

/** Mounts nothing; refuses to let go of what is `stuck`. */
class Nothing implements MountHandler {
  readonly stuck = new Set<string>()

  async mount(_: Context, mount: Mount, point: string): Promise<ActiveMount> {
    return await Promise.resolve({ ...mount, mountedAt: new Date(), mountPoint: point })
  }

  async unmount(_: Context, point: string): Promise<void> {
    await Promise.resolve()
    if (this.stuck.has(point)) throw Object.assign(new Error('EBUSY'), { code: 'EBUSY' })
  }

  isMounted(): boolean {
    return true
  }
}

const mounts = [{ type: 'nothing', source: '', options: [] }]
const backReference = (to: string, name: string): object => ({
  labels: { [`containerd.io/gc.bref.${to}`]: name },
})

void suite('collected mounts', () => {
  void test('go when neither lease nor what they name is there', async (t) => {
    await withMetadata(t, async ({ ctx, metadata, root }) => {
      const targets = join(root, 't')
      mkdirSync(targets)
      const handler = new Nothing()
      const db = await openDatabase(join(root, 'mounts.db'))
      await using manager = new BoltMountManager(db, {
        targets,
        handlers: new Map([['nothing', handler]]),
        roots: [],
        busyMs: 0,
      })
      manager.register(metadata)
      const names = async (): Promise<string[]> =>
        (await manager.list(ctx)).map(({ name }) => name).toSorted()

      await metadata.leases.create(ctx, { id: 'lease', labels: {} })
      await metadata.images.create(ctx, {
        name: 'image',
        target: { mediaType: 'm', digest: `sha256:${'0'.repeat(64)}`, size: 1 },
        labels: {},
      })
      await manager.activate({ ...ctx, lease: 'lease' }, 'leased', mounts)
      await manager.activate({ ...ctx, lease: 'gone' }, 'leased by nothing', mounts)
      await manager.activate(ctx, 'named', mounts, backReference('image.a', 'image'))
      await manager.activate(ctx, 'names nothing', mounts, backReference('container', 'none'))
      await manager.activate(ctx, 'loose', mounts)
      await using held = await manager.hold(ctx, mounts)
      mkdirSync(join(targets, '77'))
      assert.equal(readdirSync(targets).length, 7)

      await metadata.collect(ctx)
      assert.deepEqual(await names(), ['leased', 'named'])
      const [dir = ''] = (held.system[0]?.source ?? '').slice(targets.length + 1).split('/')
      assert.deepEqual(new Set(readdirSync(targets)), new Set([dir, '1', '3']))

      handler.stuck.add(join(targets, '1', '1'))
      await metadata.leases.delete(ctx, 'lease')
      await metadata.images.delete(ctx, 'image')
      await metadata.collect(ctx)
      assert.deepEqual(await names(), ['leased'])
      handler.stuck.clear()
      await metadata.collect(ctx)
      assert.deepEqual(await names(), [])
    })
  })

  void test('stay when they are made or named again while a collection runs', async (t) => {
    await withMetadata(t, async ({ ctx, root }) => {
      const targets = join(root, 't')
      mkdirSync(targets)
      const db = await openDatabase(join(root, 'mounts.db'))
      const handlers = new Map([['nothing', new Nothing()]])
      await using manager = new BoltMountManager(db, { targets, handlers, roots: [], busyMs: 0 })
      for (const name of ['a', 'b', 'c']) await manager.activate(ctx, name, mounts)
      const garbage = ['a', 'b', 'c'].map((key) => ({ namespace: 'testing', key }))
      {
        await using collection = await manager.collector.startCollection(ctx)
        assert.deepEqual(
          Array.from(collection.objects, ({ key }) => key),
          ['a', 'b', 'c'],
        )
        await manager.deactivate(ctx, 'a')
        await manager.activate(ctx, 'a', mounts)
        await manager.update(ctx, { name: 'b', labels: { x: '1' } }, [])
        await collection.remove(garbage)
        await manager.info(ctx, 'a')
        await manager.info(ctx, 'b')
        await rejectsWith('not_found', manager.info(ctx, 'c'))
      }
      await using next = await manager.collector.startCollection(ctx)
      await next.remove(garbage)
      assert.deepEqual(await manager.list(ctx), [])
      assert.deepEqual(readdirSync(targets), [])
    })
  })
})
