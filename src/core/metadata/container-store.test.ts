import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import type { NewContainer } from '#core/containers/containers.ts'
import { testMetadata, withMetadata } from '#testing/metadata.ts'
import { rejectsWith } from '#testing/rejects.ts'

const any = (text: string) => ({ typeUrl: 'a.b/C', value: new Uint8Array(Buffer.from(text)) })

const container = (id: string, more: Partial<NewContainer> = {}): NewContainer => ({
  id,
  labels: {},
  image: 'docker.io/library/busybox:latest',
  runtime: { name: 'io.containerd.runc.v2', options: any('options') },
  spec: any('{"process":{}}'),
  snapshotKey: id,
  snapshotter: 'overlayfs',
  sandbox: '',
  extensions: { ext: any('ext') },
  ...more,
})

void suite('containers', () => {
  void test('everything of a container is still there after a restart', async (t) => {
    await withMetadata(t, async (given) => {
      const { ctx, metadata, root } = given
      const created = await metadata.containers.create(
        ctx,
        container('a', { labels: { x: '1', empty: '' } }),
      )
      assert.deepEqual(created.labels, { x: '1' })
      assert.ok(Math.abs(created.createdAt.getTime() - Date.now()) < 60_000)
      assert.deepEqual(created.updatedAt, created.createdAt)
      await given[Symbol.asyncDispose]()
      await using again = await testMetadata(ctx, root)
      assert.deepEqual(await again.metadata.containers.get(ctx, 'a'), created)
    })
  })

  void test('containers are listed, all or by filter', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { containers } }) => {
      await containers.create(ctx, container('a', { labels: { 'x.y': '1' } }))
      await containers.create(ctx, container('b', { image: 'other' }))
      const ids = async (...filters: string[]): Promise<string[]> =>
        (await containers.list(ctx, filters)).map(({ id }) => id)
      assert.deepEqual(await ids(), ['a', 'b'])
      assert.deepEqual(await ids('labels."x.y"==1'), ['a'])
      assert.deepEqual(await ids('image==other', 'id==a'), ['a', 'b'])
      assert.deepEqual(await ids('runtime.name==io.containerd.runc.v2,id!=a'), ['b'])
      assert.deepEqual(await ids('nothing'), [])
      await rejectsWith('invalid_argument', containers.list(ctx, ['id==']))
    })
  })

  void test('a container that makes no sense is refused by the name of the field', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { containers } }) => {
      const refused = async (more: Partial<NewContainer>, message: string): Promise<void> =>
        await rejectsWith(
          'invalid_argument',
          containers.create(ctx, container('a', more)),
          `create container failed validation: ${message}: invalid argument`,
        )
      await refused({ id: '' }, 'container.ID: identifier must not be empty')
      await refused(
        { extensions: { '': any('') } },
        'container.Extension keys must not be zero-length',
      )
      await refused({ runtime: { name: '' } }, 'container.Runtime.Name must be set')
      await refused({ spec: undefined }, 'container.Spec must be set')
      await refused(
        { snapshotter: '' },
        'container.Snapshotter must be set if container.SnapshotKey is set',
      )
      await containers.create(ctx, container('a'))
      const again = containers.create(ctx, container('a'))
      await rejectsWith('already_exists', again, 'container "a": already exists')
    })
  })

  void test('a field mask changes only what it names', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { containers } }) => {
      await containers.create(ctx, container('a', { labels: { x: '1', y: '2' } }))
      const given = container('a', {
        labels: { x: '3' },
        image: 'new',
        spec: any('new'),
        extensions: { other: any('other') },
      })
      const updated = await containers.update(ctx, given, ['labels.x', 'labels.y', 'image'])
      assert.deepEqual(updated.labels, { x: '3' })
      assert.equal(updated.image, 'new')
      assert.deepEqual(updated.spec, any('{"process":{}}'))
      const stored = await containers.update(ctx, given, ['extensions.other'])
      assert.deepEqual(stored.extensions, { ext: any('ext'), other: any('other') })
      assert.deepEqual(await containers.get(ctx, 'a'), stored)
      await rejectsWith(
        'invalid_argument',
        containers.update(ctx, given, ['runtime']),
        'cannot update "runtime" field on "a": invalid argument',
      )
    })
  })

  void test('without a mask everything mutable changes, and the rest must be as it was', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { containers } }) => {
      await containers.create(ctx, container('a', { labels: { x: '1' } }))
      const given = container('a', { labels: { y: '2' }, spec: any('s'), snapshotKey: 'k' })
      const updated = await containers.update(ctx, given, [])
      assert.deepEqual(updated.labels, { y: '2' })
      assert.deepEqual(updated.spec, any('s'))
      assert.equal(updated.snapshotKey, 'k')
      const update = async (more: Partial<NewContainer>): Promise<unknown> =>
        await containers.update(ctx, container('a', more), [])
      const immutable = 'field is immutable: invalid argument'
      await rejectsWith(
        'invalid_argument',
        update({ snapshotter: 'x' }),
        `container.Snapshotter ${immutable}`,
      )
      const runtime = update({ runtime: { name: 'x' } })
      await rejectsWith('invalid_argument', runtime, `container.Runtime.Name ${immutable}`)
    })
  })

  void test('what is not there is not found', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { containers } }) => {
      const missing = 'container "a" in namespace "testing": not found'
      await rejectsWith('not_found', containers.get(ctx, 'a'), missing)
      await rejectsWith('not_found', containers.delete(ctx, 'a'), `cannot delete ${missing}`)
      await rejectsWith(
        'not_found',
        containers.update(ctx, container('a'), []),
        `cannot update ${missing}`,
      )
      await containers.create(ctx, container('b'))
      await rejectsWith('not_found', containers.delete(ctx, 'a'), 'container a: not found')
      await rejectsWith('not_found', containers.get(ctx, ''))
      await containers.delete(ctx, 'b')
      assert.deepEqual(await containers.list(ctx), [])
    })
  })

  void test('namespaces do not see each other, and one is needed', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { containers } }) => {
      await containers.create(ctx, container('a'))
      const other = { ...ctx, namespace: 'other' }
      assert.deepEqual(await containers.list(other), [])
      await rejectsWith('not_found', containers.get(other, 'a'))
      const { namespace: _none, ...bare } = ctx
      await rejectsWith(
        'failed_precondition',
        containers.list(bare),
        'namespace is required: failed precondition',
      )
    })
  })

  void test('a cancelled call does nothing', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { containers } }) => {
      const cancelled = { ...ctx, signal: AbortSignal.abort() }
      await assert.rejects(containers.create(cancelled, container('a')), { name: 'AbortError' })
      await assert.rejects(containers.list(cancelled), { name: 'AbortError' })
      assert.deepEqual(await containers.list(ctx), [])
    })
  })
})
