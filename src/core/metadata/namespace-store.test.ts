import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

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

  void test('labels are set one by one, and an empty value removes', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { namespaces } }) => {
      await namespaces.setLabel(ctx, 'new', 'x', '1')
      await namespaces.setLabel(ctx, 'new', 'y', '2')
      await namespaces.setLabel(ctx, 'new', 'x', '')
      assert.deepEqual((await namespaces.get(ctx, 'new')).labels, { y: '2' })
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
