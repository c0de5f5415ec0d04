import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, suite, test } from 'node:test'

import type { Context } from '#core/context.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import { alreadyExists, internal } from '#lib/errors/errors.ts'
import { OverlaySnapshotter } from '#plugins/snapshots/overlay/overlay.ts'
import { type TestMetadata, withMetadata } from '#testing/metadata.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { overriding } from '#testing/overriding.ts'

const overlay = { asyncRemove: false, upperdirLabel: false, mountOptions: [] }

interface Given extends TestMetadata {
  readonly ctx: Context
  /** The namespace's view. */
  readonly sn: Snapshotter
  readonly backend: Snapshotter
}

/** Runs `body` on metadata over a real snapshotter, some methods of which may be replaced. */
async function withSnapshots(
  t: TestContext,
  body: (given: Given) => Promise<void>,
  override: (backend: Snapshotter) => Partial<Snapshotter> = () => ({}),
): Promise<void> {
  let backend: Snapshotter | undefined
  await withMetadata(
    t,
    async (given) => {
      const sn = given.metadata.snapshotters.get('overlayfs')
      assert.ok(sn && backend)
      await body({ ...given, sn, backend })
    },
    async (ctx, root) => {
      backend = await OverlaySnapshotter.open(ctx, join(root, 'overlayfs'), overlay)
      const overridden = overriding(backend, override(backend))
      return { snapshotters: new Map([['overlayfs', overridden]]) }
    },
  )
}

const names = async (ctx: Context, sn: Snapshotter): Promise<string[]> =>
  (await Array.fromAsync(sn.list(ctx), (info) => info.name)).toSorted()

const refLabel = 'containerd.io/snapshot.ref'

void suite('snapshots of namespaces', () => {
  void test('the backend has them under names of their own', async (t) => {
    await withSnapshots(t, async ({ ctx, sn, backend }) => {
      const other = { ...ctx, namespace: 'other' }
      await sn.prepare(ctx, 'work', '')
      await sn.prepare(other, 'work', '')
      await sn.commit(ctx, 'base', 'work')
      await sn.view(ctx, 'look', 'base')
      assert.deepEqual(await names(ctx, backend), [
        'other/1/work',
        'testing/2/base',
        'testing/3/look',
      ])
      assert.deepEqual(await names(ctx, sn), ['base', 'look'])
      assert.deepEqual(await names(other, sn), ['work'])
      const info = await sn.stat(ctx, 'look')
      assert.deepEqual([info.kind, info.name, info.parent], ['view', 'look', 'base'])
      await rejectsWith(
        'not_found',
        sn.stat(other, 'base'),
        'snapshot base does not exist: not found',
      )
    })
  })

  void test('only labels of snapshots reach the backend', async (t) => {
    await withSnapshots(t, async ({ ctx, sn, backend }) => {
      const labels = { 'containerd.io/snapshot/x': '1', mine: '2' }
      await sn.prepare(ctx, 'work', '', { labels })
      const backendLabels = async (name: string): Promise<object> => ({
        ...(await backend.stat(ctx, name)).labels,
      })
      assert.deepEqual(await backendLabels('testing/1/work'), { 'containerd.io/snapshot/x': '1' })
      assert.deepEqual((await sn.stat(ctx, 'work')).labels, labels)
      const given = { name: 'work', labels: { 'containerd.io/snapshot/x': '3', mine: '4' } }
      const updated = await sn.update(ctx, given, [
        'labels.containerd.io/snapshot/x',
        'labels.gone',
      ])
      assert.deepEqual(updated.labels, { 'containerd.io/snapshot/x': '3', mine: '2' })
      assert.deepEqual(await backendLabels('testing/1/work'), { 'containerd.io/snapshot/x': '3' })
      await sn.update(ctx, { name: 'work', labels: { only: '5' } }, [])
      assert.deepEqual((await sn.stat(ctx, 'work')).labels, { only: '5' })
      assert.deepEqual(await backendLabels('testing/1/work'), {})
      await rejectsWith('invalid_argument', sn.update(ctx, given, ['parent']))
      await rejectsWith('not_found', sn.update(ctx, { name: 'none', labels: {} }, []))
      const long = { long: 'x'.repeat(4096) }
      await rejectsWith('invalid_argument', sn.prepare(ctx, 'b', '', { labels: long }))
    })
  })

  void test('a removed snapshot stays in the backend until the next collection', async (t) => {
    await withSnapshots(t, async ({ ctx, sn, backend, metadata }) => {
      await sn.prepare(ctx, 'work', '')
      await sn.commit(ctx, 'base', 'work')
      await sn.prepare(ctx, 'child', 'base')
      await rejectsWith(
        'failed_precondition',
        sn.remove(ctx, 'base'),
        'cannot remove snapshot with child: failed precondition',
      )
      await sn.remove(ctx, 'child')
      await sn.remove(ctx, 'base')
      await rejectsWith(
        'not_found',
        sn.remove(ctx, 'base'),
        'snapshot base does not exist: not found',
      )
      assert.deepEqual(await names(ctx, backend), ['testing/2/base', 'testing/3/child'])
      await metadata.collect(ctx)
      assert.deepEqual(await names(ctx, backend), [])
    })
  })

  void test('what happens is published, in order', async (t) => {
    await withSnapshots(t, async ({ ctx, sn, events }) => {
      await sn.prepare(ctx, 'work', '')
      await sn.commit(ctx, 'base', 'work')
      await sn.view(ctx, 'look', 'base')
      await sn.remove(ctx, 'look')
      assert.deepEqual(
        events.map(({ namespace, topic }) => [namespace, topic]),
        [
          ['testing', '/snapshot/prepare'],
          ['testing', '/snapshot/commit'],
          ['testing', '/snapshot/remove'],
        ],
      )
    })
  })

  void test('a lease holds what is made under it, and what is already there', async (t) => {
    await withSnapshots(t, async ({ ctx, sn, metadata: { leases } }) => {
      await leases.create(ctx, { id: 'l', labels: {} })
      const leased = { ...ctx, lease: 'l' }
      const held = async (): Promise<string[]> =>
        (await leases.listResources(ctx, 'l')).map(({ id, type }) => `${type} ${id}`)
      await sn.prepare(leased, 'work', '')
      assert.deepEqual(await held(), ['snapshots/overlayfs work'])
      await sn.commit(leased, 'base', 'work')
      assert.deepEqual(await held(), ['snapshots/overlayfs base'])
      await sn.prepare(ctx, 'other', 'base')
      await rejectsWith(
        'already_exists',
        sn.prepare(leased, 'other', 'base'),
        'snapshot "other": already exists',
      )
      await rejectsWith(
        'already_exists',
        sn.commit(leased, 'base', 'other'),
        'snapshot "base": already exists',
      )
      assert.deepEqual(await held(), ['snapshots/overlayfs base', 'snapshots/overlayfs other'])
      await sn.remove(leased, 'other')
      assert.deepEqual(await held(), ['snapshots/overlayfs base'])
      const none = { ...ctx, lease: 'none' }
      await rejectsWith('not_found', sn.prepare(none, 'new', ''), 'lease does not exist: not found')
      assert.deepEqual(await names(ctx, sn), ['base'])
    })
  })

  void test('a commit under a lease that is not there leaves the snapshot as it was', async (t) => {
    await withSnapshots(t, async ({ ctx, sn }) => {
      const none = { ...ctx, lease: 'none' }
      await sn.prepare(ctx, 'work', '')
      for (const key of ['missing', 'work']) {
        const committing = sn.commit(none, 'base', key)
        await rejectsWith('not_found', committing, 'lease does not exist: not found')
      }
      assert.equal((await sn.stat(ctx, 'work')).kind, 'active')
      await sn.commit(ctx, 'base', 'work')
      assert.deepEqual(await names(ctx, sn), ['base'])
    })
  })

  void test('a lease that is deleted during a commit does not undo it', async (t) => {
    let during = async (): Promise<void> => {}
    await withSnapshots(
      t,
      async ({ ctx, sn, metadata: { leases } }) => {
        await leases.create(ctx, { id: 'l', labels: {} })
        await sn.prepare(ctx, 'work', '')
        during = async () => await leases.delete(ctx, 'l')
        await sn.commit({ ...ctx, lease: 'l' }, 'base', 'work')
        assert.deepEqual(await names(ctx, sn), ['base'])
        assert.equal((await sn.stat(ctx, 'base')).kind, 'committed')
      },
      (backend) => ({
        commit: async (...args) => {
          await during()
          await backend.commit(...args)
        },
      }),
    )
  })

  void test('what is missing is named', async (t) => {
    await withSnapshots(t, async ({ ctx, sn }) => {
      await rejectsWith(
        'not_found',
        sn.commit(ctx, 'base', 'work'),
        'can not find snapshotter "overlayfs": not found',
      )
      await rejectsWith(
        'not_found',
        sn.prepare(ctx, 'work', 'none'),
        'parent snapshot none does not exist: not found',
      )
      await sn.prepare(ctx, 'there', '')
      await rejectsWith(
        'not_found',
        sn.commit(ctx, 'base', 'work'),
        'snapshot work does not exist: not found',
      )
      await rejectsWith(
        'not_found',
        sn.mounts(ctx, 'work'),
        'snapshot work does not exist: not found',
      )
      await rejectsWith(
        'not_found',
        sn.usage(ctx, 'work'),
        'snapshot work does not exist: not found',
      )
    })
  })

  void test('a commit can put a snapshot on a parent', async (t) => {
    await withSnapshots(t, async ({ ctx, sn, backend }) => {
      await sn.prepare(ctx, 'a', '')
      await sn.commit(ctx, 'base', 'a')
      await sn.prepare(ctx, 'b', '')
      await sn.commit(ctx, 'rebased', 'b', { parent: 'base' })
      assert.equal((await sn.stat(ctx, 'rebased')).parent, 'base')
      assert.equal((await backend.stat(ctx, 'testing/4/rebased')).parent, 'testing/2/base')
      await rejectsWith('failed_precondition', sn.remove(ctx, 'base'))
      await sn.remove(ctx, 'rebased')
      await sn.remove(ctx, 'base')
    })
  })

  void test('a key is taken once, however many want it at once', async (t) => {
    await withSnapshots(t, async ({ ctx, sn, backend }) => {
      const tries = Array.from({ length: 8 }, async () => await sn.prepare(ctx, 'work', ''))
      const results = await Promise.allSettled(tries)
      assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1)
      assert.deepEqual(await names(ctx, backend), ['testing/1/work'])
      const commits = ['a', 'b', 'c'].map(async (name) => await sn.commit(ctx, name, 'work'))
      const committed = await Promise.allSettled(commits)
      assert.equal(committed.filter(({ status }) => status === 'fulfilled').length, 1)
      assert.equal((await names(ctx, sn)).length, 1)
      assert.equal((await names(ctx, backend)).length, 1)
    })
  })

  void test('when the backend refuses, nothing is recorded', async (t) => {
    const fail = async (): Promise<never> => await Promise.reject(internal('broken disk'))
    await withSnapshots(
      t,
      async ({ ctx, sn }) => {
        await sn.prepare(ctx, 'work', '')
        await rejectsWith('internal', sn.view(ctx, 'look', ''), 'broken disk: internal')
        await rejectsWith('internal', sn.commit(ctx, 'base', 'work'), 'broken disk: internal')
        await rejectsWith('internal', sn.update(ctx, { name: 'work', labels: { a: '1' } }, []))
        assert.deepEqual(await names(ctx, sn), ['work'])
        assert.deepEqual((await sn.stat(ctx, 'work')).labels, {})
      },
      () => ({ view: fail, commit: fail, update: fail }),
    )
  })

  void test('what cannot be recorded does not stay in the backend', async (t) => {
    let metadata: TestMetadata['metadata'] | undefined
    await withSnapshots(
      t,
      async (given) => {
        ;({ metadata } = given)
        const { ctx, sn, backend } = given
        await metadata.leases.create(ctx, { id: 'l', labels: {} })
        const preparing = sn.prepare({ ...ctx, lease: 'l' }, 'work', '')
        await rejectsWith('not_found', preparing, 'lease does not exist: not found')
        assert.deepEqual(await names(ctx, backend), [])
        assert.deepEqual(await names(ctx, sn), [])
      },
      (backend) => ({
        prepare: async (ctx, ...args) => {
          const mounts = await backend.prepare(ctx, ...args)
          await metadata?.leases.delete({ ...ctx, namespace: 'testing' }, 'l')
          return mounts
        },
      }),
    )
  })

  void test('a name that the backend unexpectedly has is no snapshot of the caller', async (t) => {
    await withSnapshots(
      t,
      async ({ ctx, sn }) => {
        const preparing = sn.prepare(ctx, 'work', '')
        await rejectsWith('unknown', preparing, /^unexpected error from snapshotter: /)
      },
      () => ({ prepare: async () => await Promise.reject(alreadyExists('odd')) }),
    )
  })
})

void suite('snapshots that the backend already has', () => {
  /** As a snapshotter does that finds layers by their reference instead of unpacking them. */
  const remote = (backend: Snapshotter): Partial<Snapshotter> => ({
    async prepare(ctx, key, parent, options) {
      const mounts = await backend.prepare(ctx, key, parent, options)
      const ref = options?.labels?.[refLabel]
      if (ref === undefined) return mounts
      await backend.commit(ctx, `remote/${ref}`, key, options)
      throw alreadyExists(`target snapshot ${ref}`)
    },
  })

  void test('they are recorded under the name the label asks for', async (t) => {
    await withSnapshots(
      t,
      async ({ ctx, sn, backend, metadata, events }) => {
        await sn.prepare(ctx, 'a', '')
        await sn.commit(ctx, 'base', 'a')
        await metadata.leases.create(ctx, { id: 'l', labels: {} })
        const labels = { [refLabel]: 'layer', mine: '1' }
        const leased = { ...ctx, lease: 'l' }
        await rejectsWith(
          'already_exists',
          sn.prepare(leased, 'extract', 'base', { labels }),
          'target snapshot "layer" from snapshotter: already exists',
        )
        const info = await sn.stat(ctx, 'layer')
        assert.deepEqual([info.kind, info.parent, info.labels], ['committed', 'base', labels])
        await rejectsWith('not_found', sn.stat(ctx, 'extract'))
        await rejectsWith(
          'already_exists',
          sn.prepare(leased, 'extract', 'base', { labels }),
          'target snapshot "layer": already exists',
        )
        assert.deepEqual(await metadata.leases.listResources(ctx, 'l'), [
          { id: 'layer', type: 'snapshots/overlayfs' },
        ])
        assert.equal(events.filter(({ topic }) => topic === '/snapshot/prepare').length, 1)
        await metadata.collect(ctx)
        assert.deepEqual(await names(ctx, backend), ['remote/layer', 'testing/2/base'])
      },
      remote,
    )
  })

  void test('one that is on another parent is not taken for it', async (t) => {
    await withSnapshots(
      t,
      async ({ ctx, sn, backend }) => {
        await backend.prepare(ctx, 'x', '', { labels: { [refLabel]: 'layer' } })
        await backend.commit(ctx, 'other', 'x', { labels: { [refLabel]: 'layer' } })
        await sn.prepare(ctx, 'a', '')
        await sn.commit(ctx, 'base', 'a')
        const labels = { [refLabel]: 'layer' }
        await rejectsWith(
          'not_found',
          sn.prepare(ctx, 'extract', 'base', { labels }),
          'target snapshot "layer" in backend: not found',
        )
      },
      (backend) => ({
        async prepare(ctx, key, parent, options) {
          if (options?.labels?.[refLabel] !== undefined) throw alreadyExists('target')
          return await backend.prepare(ctx, key, parent, options)
        },
      }),
    )
  })
})
