import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import type { Labels } from '#core/labels/labels.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { withMetadata } from '#testing/metadata.ts'
import { rejectsWith } from '#testing/rejects.ts'

void suite('namespaces', () => {
  void test('what was created is listed with its labels', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { namespaces } }) => {
      await namespaces.create(ctx, { name: 'b', labels: { x: '1' } })
      await namespaces.create(ctx, { name: 'a', labels: {} })
      assert.deepEqual(await namespaces.list(ctx), [
        { name: 'a', labels: {} },
        { name: 'b', labels: { x: '1' } },
      ])
      assert.deepEqual(await namespaces.get(ctx, 'b'), { name: 'b', labels: { x: '1' } })
    })
  })

  void test('a name is taken once and has to be one', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { namespaces } }) => {
      const create = async (name: string, labels = {}): Promise<void> =>
        await namespaces.create(ctx, { name, labels })
      await create('a')
      await rejectsWith('already_exists', create('a'), 'namespace "a": already exists')
      await rejectsWith('invalid_argument', create('a/b'), /^identifier "a\/b" must match /)
      await rejectsWith('invalid_argument', create(''))
      const long = 'x'.repeat(4096)
      await rejectsWith('invalid_argument', create('c', { long }), /^namespace.Labels: label key/)
      await rejectsWith('not_found', namespaces.get(ctx, 'none'), 'namespace "none": not found')
      await rejectsWith('not_found', namespaces.get(ctx, ''))
      await rejectsWith('not_found', namespaces.delete(ctx, 'none'))
      await rejectsWith('not_found', namespaces.delete(ctx, ''))
    })
  })

  void test('labels are set, and an empty value removes', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { namespaces } }) => {
      const labelsAre = async (labels: Labels) =>
        assert.deepEqual((await namespaces.get(ctx, 'new')).labels, labels)
      await namespaces.create(ctx, { name: 'new', labels: { x: '1', none: '' } })
      await labelsAre({ x: '1' })
      await namespaces.setLabels(ctx, 'new', { x: '', y: '2' })
      await labelsAre({ y: '2' })
      await namespaces.setLabels(ctx, 'new', { z: '3' }, { replace: true })
      await labelsAre({ z: '3' })
      const long = 'v'.repeat(5000)
      await rejectsWith('invalid_argument', namespaces.setLabels(ctx, 'new', { a: '1', long }))
      await labelsAre({ z: '3' })
    })
  })

  void test('labels make a namespace, and no labels make none', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { namespaces } }) => {
      await namespaces.setLabels(ctx, 'new', {}, { replace: true })
      assert.deepEqual(await namespaces.list(ctx), [])
      await namespaces.setLabels(ctx, 'new', { x: '1' })
      assert.deepEqual(await namespaces.list(ctx), [{ name: 'new', labels: { x: '1' } }])
    })
  })

  void test('a namespace is not deleted before it is empty', async (t) => {
    await withMetadata(t, async ({ ctx, metadata }) => {
      const target = { mediaType: 'm', digest: digestOf('x'), size: 1 }
      await metadata.images.create(ctx, { name: 'i', labels: {}, target })
      await rejectsWith(
        'failed_precondition',
        metadata.namespaces.delete(ctx, 'testing'),
        'namespace "testing" must be empty, but it still has images: failed precondition',
      )
      await metadata.images.delete(ctx, 'i')
      await metadata.leases.create(ctx, { id: 'does not count', labels: {} })
      await metadata.namespaces.delete(ctx, 'testing')
      assert.deepEqual(await metadata.namespaces.list(ctx), [])
    })
  })
})
