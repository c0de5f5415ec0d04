import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'

import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import type { ImageVerifier } from '#core/verification/verification.ts'
import { ImageCreateSchema } from '#gen/events/image_pb.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { unpack } from '#proxy/convert/pack.ts'
import { RemoteImageStore } from '#proxy/images.ts'
import { withMetadata } from '#testing/metadata.ts'
import { type Recorded, recordingPublisher } from '#testing/publisher.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { serve } from '#testing/serve.ts'

import { imagesApi } from './grpc.ts'
import { PublishingImageStore } from './service.ts'

const target: Descriptor = { mediaType: 'text/plain', digest: digestOf('x'), size: 1 }

interface Given {
  readonly ctx: Context
  readonly remote: RemoteImageStore
  /** Topics, and `collect` when the collector has run. */
  readonly happened: readonly string[]
  readonly events: readonly Recorded[]
}

async function images(
  t: TestContext,
  body: (given: Given) => Promise<void>,
  verifiers: ReadonlyMap<string, ImageVerifier> = new Map(),
): Promise<void> {
  await withMetadata(t, async ({ ctx, metadata }) => {
    const events: Recorded[] = []
    const happened: string[] = []
    const recording = recordingPublisher(events)
    const store = new PublishingImageStore({
      verifiers,
      images: metadata.images,
      events: {
        publish(...args) {
          happened.push(args[1])
          recording.publish(...args)
        },
      },
      gc: {
        async collect(inside) {
          happened.push('collect')
          return await metadata.collect(inside)
        },
      },
    })
    await using served = await serve(ctx, [imagesApi(store)])
    await body({ ctx, remote: new RemoteImageStore(served.connection), happened, events })
  })
}

test('an image comes back as it was given, and its changes are published', async (t) => {
  await images(t, async ({ ctx, remote, happened, events }) => {
    const annotated = { ...target, annotations: { k: 'v' } }
    await remote.create(ctx, { name: 'img', labels: { a: 'b' }, target: annotated })
    const image = await remote.get(ctx, 'img')
    assert.deepEqual(image.labels, { a: 'b' })
    assert.deepEqual(image.target, annotated)
    const updated = await remote.update(ctx, { ...image, labels: { a: 'c' } }, ['labels.a'])
    assert.deepEqual(updated.labels, { a: 'c' })
    await remote.delete(ctx, 'img')
    assert.deepEqual(happened, ['/images/create', '/images/update', '/images/delete'])
    const [create] = events
    assert.ok(create)
    // The events of images are in the package of their service, unlike all others.
    assert.equal(create.event.typeUrl, 'containerd.services.images.v1.ImageCreate')
    assert.deepEqual(unpack(ImageCreateSchema, create.event).labels, { a: 'b' })
  })
})

test('a synchronous delete answers after the collector', async (t) => {
  await images(t, async ({ ctx, remote, happened }) => {
    await remote.create(ctx, { name: 'img', labels: {}, target })
    await remote.delete(ctx, 'img', { synchronous: true })
    assert.deepEqual(happened.slice(1), ['/images/delete', 'collect'])
  })
})

test('a delete can be bound to what the image points at', async (t) => {
  await images(t, async ({ ctx, remote }) => {
    await remote.create(ctx, { name: 'img', labels: {}, target })
    const other = { ...target, digest: digestOf('y') }
    await rejectsWith('not_found', remote.delete(ctx, 'img', { target: other }))
    await remote.delete(ctx, 'img', { target })
  })
})

test('the times of an image can be given', async (t) => {
  await images(t, async ({ ctx, remote }) => {
    const epoch = new Date('2001-02-03T04:05:06Z')
    const image = await remote.create(ctx, { name: 'img', labels: {}, target, createdAt: epoch })
    assert.deepEqual([image.createdAt, image.updatedAt], [epoch, epoch])
  })
})

test('an image needs a name', async (t) => {
  await images(t, async ({ ctx, remote }) => {
    const unnamed = { name: '', labels: {}, target }
    await rejectsWith('invalid_argument', remote.create(ctx, unnamed), 'Image.Name required')
    await rejectsWith('invalid_argument', remote.update(ctx, unnamed, []), 'Image.Name required')
  })
})

test('verifiers are asked before a name is given to other content', async (t) => {
  const asked: string[] = []
  const verifiers = new Map<string, ImageVerifier>([
    ['silent', { verify: async () => await Promise.reject(new Error('nothing is pulled')) }],
    [
      'strict',
      {
        verify: async () => await Promise.reject(new Error('nothing is pulled')),
        async admit(_ctx, name, { digest, mediaType }) {
          asked.push(name)
          if (name === 'broken') throw new Error('the verifier is broken')
          const ok = digest === target.digest && mediaType === target.mediaType
          return await Promise.resolve({ ok, reason: 'not verified' })
        },
      },
    ],
  ])
  const other = { ...target, digest: digestOf('other') }
  const disguised = { ...target, mediaType: 'application/json' }
  const body = async ({ ctx, remote, happened }: Given): Promise<void> => {
    const blocked = 'image verifier strict blocked "img": not verified'
    const create = async (name: string, to: Descriptor) =>
      await remote.create(ctx, { name, labels: {}, target: to })
    await rejectsWith('permission_denied', create('img', other), new RegExp(blocked))
    await assert.rejects(create('broken', target), /the verifier is broken/)
    await rejectsWith('not_found', remote.get(ctx, 'img'))
    const image = await create('img', target)
    for (const paths of [['target'], ['target.digest'], []]) {
      for (const to of [other, disguised]) {
        const update = remote.update(ctx, { ...image, target: to }, paths)
        await rejectsWith('permission_denied', update, new RegExp(blocked))
      }
    }
    assert.equal((await remote.get(ctx, 'img')).target.digest, target.digest)
    const before = asked.length
    await remote.update(ctx, { ...image, labels: { a: 'b' } }, [])
    await remote.update(ctx, { ...image, labels: { a: 'c' }, target: other }, ['labels'])
    assert.equal(asked.length, before)
    assert.deepEqual(happened, ['/images/create', '/images/update', '/images/update'])
  }
  await images(t, body, verifiers)
})
