import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, suite, test } from 'node:test'

import type { Store } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'
import type { CollectionStats } from '#core/gc/gc.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { openNative } from '#plugins/snapshots/native/native.ts'
import { newContext } from '#testing/context.ts'
import { type TestMetadata, testMetadata } from '#testing/metadata.ts'
import { overriding, overridingStore } from '#testing/overriding.ts'

/**
 * Stops an operation right after the backend has done its part and before the record of it, and
 * there lets a collection begin and read all that the records and the backend have.
 */
class Moment {
  metadata: TestMetadata['metadata'] | undefined
  collection: Promise<CollectionStats> | undefined
  #seen = Promise.withResolvers<void>()

  /** To be awaited after the backend's part. */
  async afterBackend(ctx: Context): Promise<void> {
    assert.ok(this.metadata)
    this.#seen = Promise.withResolvers<void>()
    this.collection = this.metadata.collect(ctx)
    await this.#seen.promise
  }

  /** `list`, whose end tells that the collection has seen everything. */
  async *watched<T>(list: AsyncIterable<T>): AsyncGenerator<T> {
    const all = await Array.fromAsync(list)
    this.#seen.resolve()
    yield* all
  }
}

interface Given extends TestMetadata {
  readonly ctx: Context
  readonly sn: Snapshotter
  readonly backend: Snapshotter
  readonly moment: Moment
}

async function atTheMoment(t: TestContext, body: (given: Given) => Promise<void>): Promise<void> {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'claims-'))
  const moment = new Moment()
  const ctx = { ...newContext(t), lease: 'l' }
  const backend = await openNative(ctx, join(dir.path, 'native'))
  await using opened = await testMetadata(ctx, dir.path, {
    snapshotters: new Map([['native', paused(backend, moment)]]),
    wrapContent: (store) => pausedStore(store, moment),
  })
  await opened.metadata.leases.create(ctx, { id: 'l', labels: {} })
  moment.metadata = opened.metadata
  const sn = opened.metadata.snapshotters.get('native')
  assert.ok(sn)
  await body({ ...opened, ctx, sn, backend, moment })
}

const paused = (backend: Snapshotter, moment: Moment): Snapshotter =>
  overriding(backend, {
    list: (...args) => moment.watched(backend.list(...args)),
    async prepare(ctx, ...args) {
      const mounts = await backend.prepare(ctx, ...args)
      await moment.afterBackend(ctx)
      return mounts
    },
    async commit(ctx, ...args) {
      await backend.commit(ctx, ...args)
      await moment.afterBackend(ctx)
    },
  })

const pausedStore = (store: Store, moment: Moment): Store =>
  overridingStore(store, {
    list: (...args) => moment.watched(store.list(...args)),
    async writer(ctx, options) {
      const writer = await store.writer(ctx, options)
      return {
        write: async (...args) => await writer.write(...args),
        digest: () => writer.digest(),
        status: () => writer.status(),
        truncate: async (...args) => await writer.truncate(...args),
        async commit(inner, ...args) {
          await writer.commit(inner, ...args)
          await moment.afterBackend(inner)
        },
        [Symbol.asyncDispose]: async () => await writer[Symbol.asyncDispose](),
      }
    },
  })

void suite('a collection between the backend and the record', () => {
  void test('leaves a blob that is being committed', async (t) => {
    await atTheMoment(t, async ({ ctx, metadata, content, moment }) => {
      await using writer = await metadata.content.writer(ctx, { ref: 'up' })
      await writer.write(ctx, Buffer.from('x'))
      await writer.commit(ctx, {})
      await moment.collection
      assert.equal((await content.info(ctx, digestOf('x'))).size, 1)
      assert.equal((await metadata.content.info(ctx, digestOf('x'))).size, 1)
    })
  })

  void test('leaves a snapshot that is being made, and one that is being committed', async (t) => {
    await atTheMoment(t, async ({ ctx, sn, backend, moment, metadata }) => {
      await sn.prepare(ctx, 'work', '')
      await moment.collection
      assert.equal((await backend.stat(ctx, 'testing/1/work')).kind, 'active')
      // Something else goes, so that the next collection looks into the backend again.
      await backend.prepare(ctx, 'testing/9/loose', '')
      await sn.view(ctx, 'look', '')
      await sn.remove(ctx, 'look')
      await sn.commit(ctx, 'base', 'work')
      await moment.collection
      assert.equal((await backend.stat(ctx, 'testing/3/base')).kind, 'committed')
      await metadata.collect(ctx)
      const left = await Array.fromAsync(backend.list(ctx), ({ name }) => name)
      assert.deepEqual(left, ['testing/3/base'])
    })
  })
})
