import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { writeBlob } from '#core/content/write-blob.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { withMetadata } from '#testing/metadata.ts'
import { rejectsWith } from '#testing/rejects.ts'

const digest = digestOf('x')

void suite('leases', () => {
  void test('leases are listed with their labels, all or by filter', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { leases } }) => {
      const a = await leases.create(ctx, { id: 'a', labels: { x: '1' } })
      const b = await leases.create(ctx, { id: 'b', labels: {} })
      assert.deepEqual(await leases.list(ctx), [a, b])
      assert.deepEqual(await leases.list(ctx, ['labels.x==1']), [a])
      assert.deepEqual(await leases.list(ctx, ['id==b']), [b])
    })
  })

  void test('an id is taken once, needed, and gone after a delete', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { leases } }) => {
      await leases.create(ctx, { id: 'a', labels: {} })
      const again = leases.create(ctx, { id: 'a', labels: {} })
      await rejectsWith('already_exists', again, 'lease "a": already exists')
      await rejectsWith('invalid_argument', leases.create(ctx, { id: '', labels: {} }))
      await leases.delete(ctx, 'a')
      await rejectsWith('not_found', leases.delete(ctx, 'a'), 'lease "a": not found')
      await rejectsWith('not_found', leases.listResources(ctx, 'a'), 'lease "a": not found')
    })
  })

  void test('a lease lists resources of every type', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { leases } }) => {
      await leases.create(ctx, { id: 'a', labels: {} })
      const resources = [
        { id: digest, type: 'content' },
        { id: 'image', type: 'images' },
        { id: 'ref', type: 'ingests' },
        { id: 'key', type: 'snapshots/native' },
        { id: 'key', type: 'snapshots/overlayfs' },
      ]
      for (const resource of resources) await leases.addResource(ctx, 'a', resource)
      assert.deepEqual(await leases.listResources(ctx, 'a'), resources)
      await leases.deleteResource(ctx, 'a', { id: 'key', type: 'snapshots/native' })
      await leases.deleteResource(ctx, 'a', { id: 'never there', type: 'snapshots/none' })
      assert.deepEqual(
        (await leases.listResources(ctx, 'a')).map(({ type }) => type),
        ['content', 'images', 'ingests', 'snapshots/overlayfs'],
      )
    })
  })

  void test('a resource of an unknown type is refused', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { leases } }) => {
      await leases.create(ctx, { id: 'a', labels: {} })
      const add = async (id: string, type: string): Promise<void> =>
        await leases.addResource(ctx, 'a', { id, type })
      await rejectsWith(
        'unimplemented',
        add('x', 'tasks'),
        'resource type tasks not supported yet: not implemented',
      )
      await rejectsWith(
        'invalid_argument',
        add('x', 'content/x'),
        'invalid resource type content/x: invalid argument',
      )
      await rejectsWith(
        'invalid_argument',
        add('x', 'snapshots'),
        'invalid snapshot resource type snapshots: invalid argument',
      )
      await rejectsWith('invalid_argument', add('x', 'content'), /^invalid content resource id x: /)
    })
  })

  void test('what is made under a lease is on it', async (t) => {
    await withMetadata(t, async ({ ctx, metadata }) => {
      await metadata.leases.create(ctx, { id: 'l', labels: {} })
      const leased = { ...ctx, lease: 'l' }
      await using writer = await metadata.content.writer(leased, { ref: 'up' })
      assert.deepEqual(await metadata.leases.listResources(ctx, 'l'), [
        { id: 'up', type: 'ingests' },
      ])
      await writer.write(ctx, Buffer.from('x'))
      await writer.commit(leased, {})
      const target = { mediaType: 'm', digest, size: 1 }
      await metadata.images.create(leased, { name: 'stays by itself', labels: {}, target })
      const labels = { 'containerd.io/gc.expire': '2100-01-01T00:00:00Z' }
      await metadata.images.create(leased, { name: 'expires', labels, target })
      assert.deepEqual(await metadata.leases.listResources(ctx, 'l'), [
        { id: digest, type: 'content' },
        { id: 'expires', type: 'images' },
      ])
      await metadata.content.delete(leased, digest)
      await metadata.images.delete(leased, 'expires')
      assert.deepEqual(await metadata.leases.listResources(ctx, 'l'), [])
    })
  })

  void test('content that is already there joins the lease', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { content, leases } }) => {
      await writeBlob(ctx, content, [Buffer.from('x')], { ref: 'up', digest })
      await leases.create(ctx, { id: 'l', labels: {} })
      const leased = { ...ctx, lease: 'l' }
      await rejectsWith('already_exists', content.writer(leased, { ref: 'up', expected: digest }))
      assert.deepEqual(await leases.listResources(ctx, 'l'), [{ id: digest, type: 'content' }])
    })
  })

  void test('nothing is made under a lease that does not exist', async (t) => {
    await withMetadata(t, async ({ ctx, metadata }) => {
      const leased = { ...ctx, lease: 'none' }
      const message = 'lease does not exist: not found'
      await rejectsWith('not_found', metadata.content.writer(leased, { ref: 'up' }), message)
      assert.deepEqual(await metadata.content.listStatuses(ctx), [])
      const labels = { 'containerd.io/gc.expire': '2100-01-01T00:00:00Z' }
      const target = { mediaType: 'm', digest, size: 1 }
      const creating = metadata.images.create(leased, { name: 'i', labels, target })
      await rejectsWith('not_found', creating, message)
      assert.deepEqual(await metadata.images.list(ctx), [])
    })
  })
})
