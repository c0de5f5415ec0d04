import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import type { NewImage } from '#core/images/images.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { testMetadata, withMetadata } from '#testing/metadata.ts'
import { rejectsWith } from '#testing/rejects.ts'

const mediaType = 'application/vnd.oci.image.index.v1+json'
const target = { mediaType, digest: digestOf('target'), size: 42 }
const image = (name: string, more: Partial<NewImage> = {}): NewImage => ({
  name,
  labels: {},
  target,
  ...more,
})

void suite('images', () => {
  void test('everything of an image is still there after a restart', async (t) => {
    await withMetadata(t, async (given) => {
      const { ctx, metadata, root } = given
      const annotations = { note: 'yes' }
      const created = await metadata.images.create(
        ctx,
        image('a', { labels: { x: '1' }, target: { ...target, annotations } }),
      )
      await given[Symbol.asyncDispose]()
      await using again = await testMetadata(ctx, root)
      assert.deepEqual(await again.metadata.images.get(ctx, 'a'), created)
    })
  })

  void test('a read gives what the last write made of an image', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { images } }) => {
      await images.create(ctx, image('a'))
      const labelled = image('a', { labels: { x: '1' } })
      assert.deepEqual((await images.get(ctx, 'a')).labels, {})
      await images.update(ctx, labelled, ['labels'])
      assert.deepEqual((await images.get(ctx, 'a')).labels, { x: '1' })
      await images.delete(ctx, 'a')
      await rejectsWith('not_found', images.get(ctx, 'a'))
      await images.create(ctx, image('a'))
      const other = { ...ctx, namespace: 'other' }
      await rejectsWith('not_found', images.get(other, 'a'))
    })
  })

  void test('the times are those that are given', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { images } }) => {
      const epoch = new Date(1_000_000)
      const created = await images.create(ctx, image('a', { createdAt: epoch, updatedAt: epoch }))
      assert.deepEqual([created.createdAt, created.updatedAt], [epoch, epoch])
      const later = new Date(2_000_000)
      const updated = await images.update(ctx, image('a', { updatedAt: later }), ['labels'])
      assert.deepEqual([updated.createdAt, updated.updatedAt], [epoch, later])
    })
  })

  void test('an image that makes no sense is refused by the name of the field', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { images } }) => {
      const refused = async (more: Partial<NewImage>, message: string): Promise<void> =>
        await rejectsWith('invalid_argument', images.create(ctx, image('a', more)), message)
      await refused({ name: '' }, 'image name must not be empty: invalid argument')
      await refused(
        { target: { ...target, digest: 'sha256:x' } },
        'target.Digest "sha256:x" invalid: invalid checksum digest length: invalid argument',
      )
      await refused(
        { target: { ...target, size: 0 } },
        'target.Size must be greater than zero: invalid argument',
      )
      await refused(
        { target: { ...target, mediaType: '' } },
        'target.MediaType must be set: invalid argument',
      )
      await rejectsWith(
        'invalid_argument',
        images.create(ctx, image('a', { labels: { k: 'v'.repeat(4096) } })),
        'image.Labels: label key and value length (4097 bytes) greater than maximum size ' +
          '(4096 bytes), key: k: invalid argument',
      )
      await images.create(ctx, image('a'))
      const again = images.create(ctx, image('a'))
      await rejectsWith('already_exists', again, 'image "a": already exists')
    })
  })

  void test('a field mask changes only what it names', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { images } }) => {
      const annotations = { a: '1' }
      await images.create(
        ctx,
        image('a', { labels: { x: '1' }, target: { ...target, annotations } }),
      )
      const other = { mediaType, digest: digestOf('other'), size: 7, annotations: { b: '2' } }
      const given = image('a', { labels: { y: '2' }, target: other })
      const labelled = await images.update(ctx, given, ['labels.y', 'annotations.b'])
      assert.deepEqual(labelled.labels, { x: '1', y: '2' })
      assert.deepEqual(labelled.target, { ...target, annotations: { a: '1', b: '2' } })
      assert.deepEqual(await images.get(ctx, 'a'), labelled)
      const targeted = await images.update(ctx, given, ['target'])
      assert.deepEqual(targeted.target, other)
      const replaced = await images.update(ctx, image('a'), [])
      assert.deepEqual((await images.get(ctx, 'a')).target, target)
      assert.deepEqual(replaced.labels, {})
      await rejectsWith(
        'invalid_argument',
        images.update(ctx, given, ['name']),
        'cannot update "name" field on image "a": invalid argument',
      )
      await rejectsWith('not_found', images.update(ctx, image('b'), []), 'image "b": not found')
    })
  })

  void test('no name of a label is special', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { images } }) => {
      const labels = Object.fromEntries([
        ['__proto__', '1'],
        ['constructor', '2'],
      ])
      await images.create(ctx, image('a', { labels }))
      assert.deepEqual(Object.entries((await images.get(ctx, 'a')).labels), Object.entries(labels))
      const paths = ['labels.__proto__', 'labels.toString']
      const updated = await images.update(ctx, image('a'), paths)
      assert.deepEqual(Object.entries(updated.labels), [['constructor', '2']])
      assert.deepEqual(await images.list(ctx, ['labels.toString']), [])
    })
  })

  void test('images are listed, all or by filter', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { images } }) => {
      await images.create(ctx, image('a', { labels: { x: '1' } }))
      await images.create(ctx, image('b'))
      const names = async (...filters: string[]): Promise<string[]> =>
        (await images.list(ctx, filters)).map(({ name }) => name)
      assert.deepEqual(await names(), ['a', 'b'])
      assert.deepEqual(await names('name==b'), ['b'])
      assert.deepEqual(await names(`target.digest==${target.digest},labels.x`), ['a'])
      assert.deepEqual(await names(`target.mediatype~=oci`), ['a', 'b'])
    })
  })

  void test('an image is deleted only while it points where the caller thinks', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { images } }) => {
      await images.create(ctx, image('a'))
      const other = { ...target, digest: digestOf('other') }
      await rejectsWith(
        'not_found',
        images.delete(ctx, 'a', { target: other }),
        `image "a" has target ${target.digest}, not ${other.digest}: not found`,
      )
      await images.delete(ctx, 'a', { target })
      await rejectsWith('not_found', images.delete(ctx, 'a'), 'image "a": not found')
      await rejectsWith('not_found', images.get(ctx, 'a'), 'image "a": not found')
    })
  })
})
