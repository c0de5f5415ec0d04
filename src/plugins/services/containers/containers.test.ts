import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { type TestContext, test } from 'node:test'

import type { NewContainer } from '#core/containers/containers.ts'
import { writeBlob } from '#core/content/write-blob.ts'
import type { Context } from '#core/context.ts'
import { mediaTypes } from '#core/images/oci.ts'
import type { Metadata } from '#core/metadata/metadata.ts'
import {
  ContainerCreateSchema,
  ContainerDeleteSchema,
  ContainerUpdateSchema,
} from '#gen/events/container_pb.ts'
import { Containers } from '#gen/services/containers_pb.ts'
import type { Connection } from '#lib/rpc/rpc.ts'
import { callOptions } from '#proxy/call.ts'
import { RemoteContainerStore } from '#proxy/containers.ts'
import { unpack } from '#proxy/convert/pack.ts'
import { withMetadata } from '#testing/metadata.ts'
import { type Recorded, recordingPublisher } from '#testing/publisher.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { serve } from '#testing/serve.ts'

import { containersApi } from './grpc.ts'
import { PublishingContainerStore } from './service.ts'

interface Given {
  readonly ctx: Context
  readonly connection: Connection
  readonly remote: RemoteContainerStore
  readonly events: readonly Recorded[]
  readonly metadata: Metadata
}

async function containers(t: TestContext, body: (given: Given) => Promise<void>): Promise<void> {
  await withMetadata(t, async ({ ctx, metadata }) => {
    const events: Recorded[] = []
    const publisher = recordingPublisher(events)
    const store = new PublishingContainerStore(metadata.containers, publisher, metadata)
    await using served = await serve(ctx, [containersApi(store)])
    const { connection } = served
    const remote = new RemoteContainerStore(connection)
    await body({ ctx, connection, remote, events, metadata })
  })
}

const given: NewContainer = {
  id: 'one',
  labels: { a: 'b' },
  image: 'img',
  runtime: { name: 'io.containerd.runc.v2', options: { typeUrl: 'x.Y', value: Buffer.of(1) } },
  spec: { typeUrl: 'types.containerd.io/spec', value: Buffer.from('{}') },
  snapshotKey: 'key',
  snapshotter: 'native',
  sandbox: '',
  extensions: { ext: { typeUrl: 'a.B', value: Buffer.of(2, 3) } },
}

test('a container comes back as it was given', async (t) => {
  await containers(t, async ({ ctx, remote }) => {
    const created = await remote.create(ctx, given)
    const { createdAt, updatedAt, ...rest } = await remote.get(ctx, 'one')
    assert.deepEqual(rest, given)
    assert.deepEqual([createdAt, updatedAt], [created.createdAt, created.updatedAt])
    assert.deepEqual(
      (await remote.list(ctx, ['labels.a==b'])).map(({ id }) => id),
      ['one'],
    )
    assert.deepEqual(await remote.list(ctx, ['id==two']), [])
  })
})

test('every change of a container is published, and no failure is', async (t) => {
  await containers(t, async ({ ctx, remote, events }) => {
    await remote.create(ctx, given)
    await remote.update(ctx, { ...given, labels: { c: 'd' } }, ['labels'])
    await remote.delete(ctx, 'one')
    await rejectsWith('not_found', remote.delete(ctx, 'one'))
    await rejectsWith('not_found', remote.update(ctx, given, ['labels']))
    assert.deepEqual(
      events.map(({ topic, namespace }) => [topic, namespace]),
      [
        ['/containers/create', 'testing'],
        ['/containers/update', 'testing'],
        ['/containers/delete', 'testing'],
      ],
    )
    const [create, update, gone] = events.map(({ event }) => event)
    assert.ok(create && update && gone)
    assert.equal(create.typeUrl, 'containerd.events.ContainerCreate')
    const { runtime, image } = unpack(ContainerCreateSchema, create)
    assert.deepEqual(
      [image, runtime?.name, runtime?.options?.typeUrl],
      ['img', 'io.containerd.runc.v2', 'x.Y'],
    )
    assert.deepEqual(unpack(ContainerUpdateSchema, update).labels, { c: 'd' })
    assert.equal(unpack(ContainerDeleteSchema, gone).id, 'one')
  })
})

test('an update needs an id', async (t) => {
  await containers(t, async ({ ctx, connection }) => {
    const client = connection.client(Containers)
    await rejectsWith(
      'invalid_argument',
      client.update({}, callOptions(ctx)),
      'Container.ID required',
    )
  })
})

test('a namespace that is no name is refused before it becomes part of a path', async (t) => {
  await containers(t, async ({ ctx, remote }) => {
    for (const namespace of ['../..', 'a/b', 'a b', '.']) {
      await rejectsWith(
        'invalid_argument',
        remote.list({ ...ctx, namespace }),
        /^namespace validation: identifier/,
      )
    }
  })
})

test('a container that is not there is named in the error', async (t) => {
  await containers(t, async ({ ctx, remote }) => {
    await rejectsWith('not_found', remote.get(ctx, 'none'), /container "none"/)
    await rejectsWith(
      'failed_precondition',
      remote.get({ ...ctx, namespace: '' }, 'none'),
      /namespace is required/,
    )
  })
})

/** Writes an image whose config has `labels`, below an index. */
async function writeImage({ ctx, metadata }: Given, labels: Record<string, string>): Promise<void> {
  const written: string[] = []
  const write = async (value: unknown, gc: Record<string, string> = {}) => {
    const bytes = Buffer.from(JSON.stringify(value))
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`
    written.push(digest)
    const size = bytes.length
    await writeBlob(ctx, metadata.content, [bytes], { ref: digest, digest, size, labels: gc })
    return { digest, size }
  }
  const config = await write({ config: { Labels: labels } })
  const { ociConfig, ociManifest, ociIndex } = mediaTypes
  const manifest = await write({ config: { mediaType: ociConfig, ...config }, layers: [] })
  const missing = { mediaType: ociManifest, digest: `sha256:${'0'.repeat(64)}`, size: 5 }
  const index = await write({
    manifests: [missing, { mediaType: ociManifest, ...manifest }],
  })
  const target = { mediaType: ociIndex, ...index }
  await metadata.images.create(ctx, { name: 'img', labels: {}, target })
}

test('labels for the restart monitor that come from an image are left out', async (t) => {
  await containers(t, async (bench) => {
    const { ctx, remote } = bench
    const key = (name: string): string => `containerd.io/restart.${name}`
    const evil = { [key('status')]: 'running', [key('loguri')]: 'binary:///bin/sh?-c=id' }
    await writeImage(bench, { ...evil, vendor: 'x' })
    const asked = { [key('status')]: 'stopped', [key('policy')]: 'always' }
    // As a client that copies the labels of the image, with some that its caller gave over them.
    await remote.create(ctx, { ...given, labels: { ...evil, vendor: 'x', ...asked } })
    assert.deepEqual((await remote.get(ctx, 'one')).labels, { vendor: 'x', ...asked })
    await remote.create(ctx, { ...given, id: 'two', image: 'other', labels: evil })
    assert.deepEqual((await remote.get(ctx, 'two')).labels, evil)
  })
})
