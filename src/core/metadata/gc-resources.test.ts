import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import type { CollectibleName, CollectibleObject, CollectibleResource } from '#core/gc/gc.ts'
import { withNamespace } from '#core/context.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { type ErrorCode, codeOf, internal } from '#lib/errors/errors.ts'
import { withMetadata } from '#testing/metadata.ts'

/** A resource with these objects; `garbage` is what each collection told it to remove. */
function resourceOf(objects: readonly CollectibleObject[], type = 'stream') {
  const garbage: CollectibleName[][] = []
  const log: string[] = []
  const resource: CollectibleResource = {
    type,
    async startCollection() {
      log.push('start')
      return await Promise.resolve({
        objects,
        async remove(names) {
          log.push('remove')
          garbage.push([...names].toSorted((a, b) => (a.key < b.key ? -1 : 1)))
          await Promise.resolve()
        },
        async [Symbol.asyncDispose]() {
          log.push('end')
          await Promise.resolve()
        },
      })
    },
  }
  return { resource, garbage, log }
}

const failsWith =
  (code: ErrorCode) =>
  (err: unknown): boolean =>
    codeOf(err) === code

const target = { mediaType: 'm', digest: digestOf('target'), size: 1 }
const gc = (name: string): string => `containerd.io/gc.${name}`

void suite('collectible resources', () => {
  void test('what is active, leased or held by an object stays, all else is to go', async (t) => {
    await withMetadata(t, async ({ ctx: given, metadata }) => {
      const ctx = withNamespace(given, 'default')
      const past = { [gc('expire')]: '2020-01-01T00:00:00Z' }
      await metadata.leases.create(ctx, { id: 'l', labels: {} })
      await metadata.leases.create(ctx, { id: 'old', labels: past })
      const labels = { [gc('ref.stream.0')]: 'named' }
      await metadata.images.create(ctx, { name: 'i', target, labels })
      const mine = (object: Omit<CollectibleObject, 'namespace'>) => ({
        namespace: 'default',
        ...object,
      })
      const { resource, garbage, log } = resourceOf([
        mine({ key: 'active', active: true }),
        mine({ key: 'leased', lease: 'l' }),
        mine({ key: 'leased before', lease: 'old' }),
        mine({ key: 'leased by nothing', lease: 'm' }),
        mine({ key: 'named' }),
        mine({ key: 'held', labels: { [gc('bref.image')]: 'i' } }),
        mine({ key: 'held by nothing', labels: { [gc('bref.container')]: 'c' } }),
        mine({ key: 'loose' }),
        { namespace: 'other', key: 'named' },
        { namespace: 'other', key: 'active', active: true },
      ])
      using _registered = metadata.registerCollectible(resource)
      const { removed } = await metadata.collect(ctx)
      assert.deepEqual(
        garbage[0]?.map(({ namespace, key }) => `${namespace} ${key}`),
        [
          'default held by nothing',
          'default leased before',
          'default leased by nothing',
          'default loose',
          'other named',
        ],
      )
      assert.deepEqual(removed, { lease: 1, stream: 5 })
      assert.deepEqual(log, ['start', 'remove', 'end'])
    })
  })

  void test('they hold what their labels name, as long as they are held', async (t) => {
    await withMetadata(t, async ({ ctx: given, metadata }) => {
      const ctx = withNamespace(given, 'default')
      const labels = { [gc('expire')]: '2020-01-01T00:00:00Z' }
      for (const name of ['i', 'j']) await metadata.images.create(ctx, { name, target, labels })
      const { resource } = resourceOf([
        { namespace: 'default', key: 'a', active: true, labels: { [gc('ref.image')]: 'i' } },
        { namespace: 'default', key: 'b', labels: { [gc('ref.image')]: 'j' } },
      ])
      using _registered = metadata.registerCollectible(resource)
      await metadata.collect(ctx)
      assert.deepEqual(
        (await metadata.images.list(ctx)).map(({ name }) => name),
        ['i'],
      )
    })
  })

  void test('one that fails is left alone, and nothing else is', async (t) => {
    await withMetadata(t, async ({ ctx: given, metadata }) => {
      const ctx = withNamespace(given, 'default')
      const { resource, garbage } = resourceOf([{ namespace: 'default', key: 'a' }])
      using _good = metadata.registerCollectible(resource)
      using _bad = metadata.registerCollectible({
        type: 'bad',
        startCollection: async () => await Promise.reject(internal('not now')),
      })
      const worse = resourceOf([{ namespace: 'default', key: 'a' }], 'worse')
      using _worse = metadata.registerCollectible({
        type: 'worse',
        startCollection: async (own) => ({
          ...(await worse.resource.startCollection(own)),
          remove: async () => await Promise.reject(internal('not this')),
        }),
      })
      await metadata.collect(ctx)
      assert.deepEqual(garbage, [[{ namespace: 'default', key: 'a' }]])
      assert.deepEqual(worse.log, ['start', 'end'])
    })
  })

  void test('a type is registered once, and no record has it', async (t) => {
    await withMetadata(t, async ({ ctx, metadata }) => {
      const { resource } = resourceOf([])
      {
        using _registered = metadata.registerCollectible(resource)
        assert.throws(() => metadata.registerCollectible(resource), failsWith('already_exists'))
      }
      using _again = metadata.registerCollectible(resource)
      assert.deepEqual((await metadata.collect(ctx)).removed, {})
      const record = { ...resource, type: 'content' }
      assert.throws(() => metadata.registerCollectible(record), failsWith('invalid_argument'))
    })
  })
})
