import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, suite, test } from 'node:test'

import type { Container } from '#core/containers/containers.ts'
import type { Store } from '#core/content/content.ts'
import { readBlob } from '#core/content/read-blob.ts'
import { writeBlob } from '#core/content/write-blob.ts'
import type { Context } from '#core/context.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import { background } from '#lib/async/background.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { internal } from '#lib/errors/errors.ts'
import { openNative } from '#plugins/snapshots/native/native.ts'
import { type TestMetadata, testMetadata, withMetadata } from '#testing/metadata.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { overriding } from '#testing/overriding.ts'

import { make, snapshotsOf } from './schema.ts'
import { writeSnapshot } from './snapshot-record.ts'

interface Given extends TestMetadata {
  readonly ctx: Context
  readonly root: string
  readonly sn: Snapshotter
  readonly backend: Snapshotter
}

async function withAll(
  t: TestContext,
  body: (given: Given) => Promise<void>,
  override: (backend: Snapshotter) => Partial<Snapshotter> = () => ({}),
  before: (root: string) => Promise<void> = async () => await Promise.resolve(),
): Promise<void> {
  let backend: Snapshotter | undefined
  await withMetadata(
    t,
    async (given) => {
      const sn = given.metadata.snapshotters.get('native')
      assert.ok(sn && backend)
      await body({ ...given, sn, backend })
    },
    async (ctx, root) => {
      await before(root)
      backend = await openNative(ctx, join(root, 'native'))
      return { snapshotters: new Map([['native', overriding(backend, override(backend))]]) }
    },
  )
}

async function put(ctx: Context, store: Store, text: string, labels = {}): Promise<string> {
  const digest = digestOf(text)
  await writeBlob(ctx, store, [Buffer.from(text)], { ref: `put ${text}`, digest, labels })
  return digest
}

const blobs = async (ctx: Context, store: Store): Promise<string[]> =>
  (await Array.fromAsync(store.list(ctx), ({ digest }) => digest)).toSorted()

const snapshots = async (ctx: Context, sn: Snapshotter): Promise<string[]> =>
  (await Array.fromAsync(sn.list(ctx), ({ name }) => name)).toSorted()

const imageOf = (name: string, digest: string) => ({
  name,
  labels: {},
  target: { mediaType: 'm', digest, size: 1 },
})

const containerOf = (
  id: string,
  snapshotKey: string,
): Omit<Container, 'createdAt' | 'updatedAt'> => ({
  id,
  labels: {},
  image: '',
  runtime: { name: 'r' },
  spec: { typeUrl: 's', value: new Uint8Array() },
  snapshotKey,
  snapshotter: 'native',
  sandbox: '',
  extensions: {},
})

void suite('collector', () => {
  void test('what no image holds goes, from the records and from the disk', async (t) => {
    await withAll(t, async ({ ctx, metadata, content }) => {
      const layer = await put(ctx, metadata.content, 'layer')
      const labels = { 'containerd.io/gc.ref.content.0': layer }
      const manifest = await put(ctx, metadata.content, 'manifest', labels)
      await put(ctx, metadata.content, 'loose')
      await metadata.images.create(ctx, imageOf('i', manifest))
      const first = await metadata.collect(ctx)
      assert.deepEqual(first.removed, { content: 1 })
      assert.deepEqual(await blobs(ctx, metadata.content), [layer, manifest].toSorted())
      assert.deepEqual(await blobs(ctx, content), [layer, manifest].toSorted())
      await metadata.images.delete(ctx, 'i')
      await metadata.collect(ctx)
      assert.deepEqual(await blobs(ctx, content), [])
    })
  })

  void test('a blob stays on the disk while another namespace has it', async (t) => {
    await withAll(t, async ({ ctx, metadata, content }) => {
      const other = { ...ctx, namespace: 'other' }
      const digest = await put(ctx, metadata.content, 'x')
      await put(other, metadata.content, 'x')
      await metadata.images.create(other, imageOf('i', digest))
      await metadata.collect(ctx)
      await rejectsWith('not_found', metadata.content.info(ctx, digest))
      assert.deepEqual(await blobs(ctx, content), [digest])
      assert.equal((await readBlob(other, metadata.content, digest, 10)).length, 1)
    })
  })

  void test('a blob stays while an upload shares it', async (t) => {
    await withAll(t, async ({ ctx, metadata, content }) => {
      const other = { ...ctx, namespace: 'other' }
      const digest = await put(ctx, metadata.content, 'x')
      await using writer = await metadata.content.writer(other, { ref: 'up', expected: digest })
      await metadata.content.delete(ctx, digest)
      await metadata.collect(ctx)
      assert.deepEqual(await blobs(ctx, content), [digest])
      await writer.commit(other, {})
      assert.equal((await readBlob(other, metadata.content, digest, 10)).length, 1)
    })
  })

  void test('snapshots go with their container, children first, and are published', async (t) => {
    await withAll(t, async ({ ctx, metadata, sn, backend, events }) => {
      await sn.prepare(ctx, 'a', '')
      await sn.commit(ctx, 'base', 'a')
      await sn.prepare(ctx, 'root', 'base')
      await metadata.containers.create(ctx, containerOf('c', 'root'))
      await metadata.collect(ctx)
      assert.deepEqual(await snapshots(ctx, sn), ['base', 'root'])
      await metadata.containers.delete(ctx, 'c')
      const { removed } = await metadata.collect(ctx)
      assert.deepEqual(removed, { snapshot: 2 })
      assert.deepEqual(await snapshots(ctx, sn), [])
      assert.deepEqual(await snapshots(ctx, backend), [])
      const gone = events.filter(({ topic }) => topic === '/snapshot/remove')
      assert.deepEqual(
        gone.map(({ namespace, event }) => [namespace, event.typeUrl]),
        Array.from({ length: 2 }, () => ['testing', 'containerd.events.SnapshotRemove']),
      )
    })
  })

  void test('a parent can be removed once its last child was collected', async (t) => {
    await withAll(t, async ({ ctx, metadata, sn }) => {
      const labels = { 'containerd.io/gc.root': 'yes' }
      await sn.prepare(ctx, 'a', '')
      await sn.commit(ctx, 'base', 'a', { labels })
      await sn.prepare(ctx, 'child', 'base')
      await metadata.collect(ctx)
      assert.deepEqual(await snapshots(ctx, sn), ['base'])
      await sn.remove(ctx, 'base')
    })
  })

  void test('a parent can be removed whose children containerd collected', async (t) => {
    await withAll(
      t,
      async ({ ctx, sn }) => {
        await rejectsWith('failed_precondition', sn.remove(ctx, 'base'))
        await sn.remove(ctx, 'child')
        await sn.remove(ctx, 'base')
      },
      undefined,
      async (root) => {
        await using database = await openDatabase(join(root, 'meta.db'))
        await database.update((tx) => {
          const records = make(tx, snapshotsOf('testing', 'native'))
          const at = new Date()
          const record = { labels: {}, createdAt: at, updatedAt: at }
          writeSnapshot(records, { ...record, key: 'base', name: 'testing/1/base', parent: '' })
          for (const key of ['child', 'collected']) {
            const name = `testing/2/${key}`
            writeSnapshot(records, { ...record, key, name, parent: 'base' })
          }
          records.deleteBucket('collected')
        })
      },
    )
  })

  void test('an image that has expired is collected and published', async (t) => {
    await withAll(t, async ({ ctx, metadata, events }) => {
      const labels = { 'containerd.io/gc.expire': '2000-01-01T00:00:00Z' }
      await metadata.images.create(ctx, { ...imageOf('old', digestOf('x')), labels })
      await metadata.images.create(ctx, imageOf('new', digestOf('x')))
      const { removed } = await metadata.collect(ctx)
      assert.deepEqual(removed, { image: 1 })
      assert.deepEqual(
        (await metadata.images.list(ctx)).map(({ name }) => name),
        ['new'],
      )
      assert.deepEqual(
        events.map(({ topic }) => topic),
        ['/images/delete'],
      )
    })
  })

  void test('a lease that has expired goes, with what only it held', async (t) => {
    await withAll(t, async ({ ctx, metadata, content }) => {
      const labels = { 'containerd.io/gc.expire': '2000-01-01T00:00:00Z' }
      await metadata.leases.create(ctx, { id: 'old', labels })
      await metadata.leases.create(ctx, { id: 'new', labels: {} })
      await put({ ...ctx, lease: 'old' }, metadata.content, 'old')
      const kept = await put({ ...ctx, lease: 'new' }, metadata.content, 'new')
      const { removed } = await metadata.collect(ctx)
      assert.deepEqual(removed, { content: 1, lease: 1 })
      assert.deepEqual(await blobs(ctx, content), [kept])
    })
  })

  void test('an upload goes with its lease', async (t) => {
    await withAll(t, async ({ ctx, metadata, content }) => {
      await metadata.leases.create(ctx, { id: 'l', labels: {} })
      {
        const leased = { ...ctx, lease: 'l' }
        await using writer = await metadata.content.writer(leased, { ref: 'up' })
        await writer.write(leased, Buffer.from('x'))
      }
      await metadata.collect(ctx)
      assert.equal((await content.listStatuses(ctx)).length, 1)
      await metadata.leases.delete(ctx, 'l')
      const { removed } = await metadata.collect(ctx)
      assert.deepEqual(removed, { ingest: 1 })
      assert.deepEqual(await content.listStatuses(ctx), [])
    })
  })

  void test('what a daemon that was cut off left in the backends is found', async (t) => {
    await withAll(t, async (given) => {
      const { ctx, root, content, backend } = given
      const digest = await put(ctx, content, 'committed and not recorded')
      {
        await using _writer = await content.writer(ctx, { ref: 'testing/9/begun' })
      }
      await backend.prepare(ctx, 'testing/9/a', '')
      await backend.commit(ctx, 'testing/10/base', 'testing/9/a')
      await backend.prepare(ctx, 'testing/11/child', 'testing/10/base')
      await given[Symbol.asyncDispose]()
      const reopened = await openNative(ctx, join(root, 'native'))
      const snapshotters = new Map([['native', reopened]])
      await using again = await testMetadata(ctx, root, { snapshotters })
      assert.deepEqual(await blobs(ctx, again.content), [digest])
      await again.metadata.collect(ctx)
      assert.deepEqual(await blobs(ctx, again.content), [])
      assert.deepEqual(await again.content.listStatuses(ctx), [])
      assert.deepEqual(await snapshots(ctx, reopened), [])
    })
  })

  void test('a commit that was cut off before its record can be done over', async (t) => {
    await withAll(t, async ({ ctx, metadata, sn, backend }) => {
      const labels = { 'containerd.io/gc.root': 'yes' }
      await sn.prepare(ctx, 'work', '', { labels })
      await backend.commit(ctx, 'testing/2/base', 'testing/1/work')
      await rejectsWith('not_found', sn.commit(ctx, 'base', 'work'))
      assert.deepEqual(await snapshots(ctx, sn), [])
      await sn.remove(ctx, 'work')
      await metadata.collect(ctx)
      assert.deepEqual(await snapshots(ctx, backend), [])
      await sn.prepare(ctx, 'work', '')
      await sn.commit(ctx, 'base', 'work', { labels })
      assert.deepEqual(await snapshots(ctx, sn), ['base'])
    })
  })

  void test('a backend that fails is tried again by the next collection', async (t) => {
    let failures = 1
    await withAll(
      t,
      async ({ ctx, metadata, sn, backend }) => {
        await sn.prepare(ctx, 'work', '')
        await metadata.collect(ctx)
        assert.deepEqual(await snapshots(ctx, sn), [])
        assert.deepEqual(await snapshots(ctx, backend), ['testing/1/work'])
        await metadata.collect(ctx)
        assert.deepEqual(await snapshots(ctx, backend), [])
      },
      (backend) => ({
        async remove(ctx, key) {
          if (failures-- > 0) throw internal('broken disk')
          await backend.remove(ctx, key)
        },
      }),
    )
  })

  void test('nothing that was acknowledged is lost to a collection at the same time', async (t) => {
    await withAll(t, async ({ ctx, metadata, sn, content, backend }) => {
      const collecting = background(
        async (signal) => {
          while (!signal.aborted) await metadata.collect(ctx)
        },
        (err) => assert.fail(String(err)),
      )
      const work = async (worker: number): Promise<void> => {
        const lease = `l${worker}`
        // Two share a namespace, and all share the blobs in the backend.
        const leased = { ...ctx, lease, namespace: `ns${worker % 2}` }
        await metadata.leases.create(leased, { id: lease, labels: {} })
        for (let i = 0; i < 8; i++) {
          const digest = await put(leased, metadata.content, `shared ${i}`)
          assert.ok((await readBlob(leased, metadata.content, digest, 100)).length > 0)
          const key = `${worker}-${i}`
          await sn.prepare(leased, `work ${key}`, i === 0 ? '' : `base ${worker}-${i - 1}`)
          await sn.commit(leased, `base ${key}`, `work ${key}`)
          assert.equal((await sn.stat(leased, `base ${key}`)).kind, 'committed')
          if (i % 3 === 2) await metadata.content.delete(leased, digest).catch(ignoreMissing)
        }
        await metadata.leases.delete(leased, lease)
      }
      const ignoreMissing = (err: unknown): void => assert.match(String(err), /not found/)
      {
        await using _collecting = collecting
        await Promise.all([0, 1, 2, 3].map(work))
      }
      await metadata.collect(ctx)
      assert.deepEqual(await blobs(ctx, content), [])
      assert.deepEqual(await snapshots(ctx, backend), [])
    })
  })
})
