import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, suite, test, type TestContext } from 'node:test'

import { writeBlob } from '#core/content/write-blob.ts'
import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import { mediaTypes } from '#core/images/oci.ts'
import type { Platform } from '#core/platforms/platforms.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { Metadata } from '#core/metadata/metadata.ts'
import { RegistryClient } from '#core/remotes/client.ts'
import { Semaphore } from '#lib/async/semaphore.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { DockerRegistry, lacksRegistry } from '#testing/docker-registry.ts'
import { type Handler, Hostile } from '#testing/hostile-registry.ts'
import { withMetadata } from '#testing/metadata.ts'
import { rejectsWith } from '#testing/rejects.ts'

import { pushImage, type PushPlace } from './push.ts'
import type { Progress } from './transfer.ts'

type Here = { readonly ctx: Context; readonly metadata: Metadata }

const layerType = 'application/vnd.oci.image.layer.v1.tar'
const amd64: Platform = { os: 'linux', architecture: 'amd64', variant: '' }
const arm64: Platform = { os: 'linux', architecture: 'arm64', variant: '' }

/** Puts `bytes` into the content store. */
async function put(
  { ctx, metadata }: Here,
  mediaType: string,
  bytes: Uint8Array,
  labels: Labels = {},
): Promise<Descriptor> {
  const digest = digestOf(bytes)
  const size = bytes.length
  await writeBlob(ctx, metadata.content, [bytes], { ref: digest, size, digest })
  await metadata.content.update(ctx, { digest, labels }, [])
  return { mediaType, digest, size }
}

const putJson = async (here: Here, mediaType: string, value: object): Promise<Descriptor> =>
  await put(here, mediaType, Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, ...value })))

/** A manifest of a config and `layers`. */
async function putManifest(here: Here, layers: readonly Descriptor[]): Promise<Descriptor> {
  const config = await put(here, mediaTypes.ociConfig, Buffer.from(JSON.stringify(randomBytes(9))))
  return await putJson(here, mediaTypes.ociManifest, { config, layers })
}

const putLayer = async (here: Here, labels?: Labels): Promise<Descriptor> =>
  await put(here, layerType, randomBytes(100_000), labels)

async function name({ ctx, metadata }: Here, target: Descriptor): Promise<string> {
  const image = `test/${target.digest.slice(7, 19)}:1`
  await metadata.images.create(ctx, { name: image, labels: {}, target })
  return image
}

suite('pushing to a registry', { skip: lacksRegistry ?? false, timeout: 120_000 }, () => {
  let registry: DockerRegistry
  const remotes = new RegistryClient({ retry: { firstWaitMs: 1 } })
  before(async () => {
    registry = await DockerRegistry.open()
  })
  after(async () => {
    await remotes[Symbol.asyncDispose]()
    await registry[Symbol.asyncDispose]()
  })

  const check = (title: string, body: (here: Here) => Promise<void>): void => {
    test(title, async (t: TestContext) => await withMetadata(t, body))
  }

  async function push(
    { ctx, metadata }: Here,
    image: string,
    path: string,
    platforms: readonly Platform[] = [],
    uploads?: Semaphore,
  ): Promise<readonly Progress[]> {
    const told: Progress[] = []
    const reference = `${registry.host}/${path}`
    await pushImage(
      ctx,
      { images: metadata.images, content: metadata.content, uploads },
      { name: image, platforms },
      { reference, remotes },
      { onProgress: (progress) => told.push(progress) },
    )
    return told
  }

  const resolved = async ({ ctx }: Here, path: string): Promise<Descriptor> =>
    (await remotes.resolve(ctx, `${registry.host}/${path}`)).target

  check('an image arrives whole, its tag last, and how far it is is told', async (here) => {
    const layer = await putLayer(here)
    const target = await putManifest(here, [layer, layer])
    const image = await name(here, target)
    const told = await push(here, image, 'team/app:1')
    assert.deepEqual(await resolved(here, 'team/app:1'), target)

    const [first, second] = told
    assert.deepEqual(first, { event: `Pushing to OCI Registry (${registry.host}/team/app:1)` })
    assert.deepEqual(second, { event: 'pushing content', name: image, descriptor: target })
    const layerName = `layer-${layer.digest}`
    const ofLayer = told.filter((progress) => progress.name === layerName)
    assert.deepEqual(
      [...new Set(ofLayer.map(({ event }) => event))],
      ['waiting', 'uploading', 'complete'],
    )
    const parents = [`manifest-${target.digest}`]
    const of = { name: layerName, parents, total: layer.size, descriptor: layer }
    assert.partialDeepStrictEqual(ofLayer[0], { ...of, event: 'waiting', progress: 0 })
    assert.partialDeepStrictEqual(ofLayer.at(-1), { ...of, event: 'complete', progress: 100_000 })
    const complete = told
      .filter(({ event }) => event === 'complete')
      .map(({ descriptor }) => descriptor?.digest)
    assert.equal(complete.length, 3)
    assert.equal(complete.at(-1), target.digest)
    assert.deepEqual(told.slice(-2), [
      { event: 'pushed content', name: image, descriptor: target },
      {
        event: `Completed push to OCI Registry (${registry.host}/team/app:1)`,
        descriptor: target,
      },
    ])
  })

  check('what is sent in many pieces arrives as it is', async (here) => {
    // The registry compares each with its digest; sizes around those of the pieces.
    const sizes = [3_000_000, (1 << 18) * 12, (1 << 18) * 4 + 1, (1 << 18) - 1, 20_000_000]
    const layers = await Promise.all(
      sizes.map(async (size) => await put(here, layerType, randomBytes(size))),
    )
    const target = await putManifest(here, layers)
    await push(here, await name(here, target), 'team/pieces:1')
    assert.deepEqual(await resolved(here, 'team/pieces:1'), target)
  })

  check('what the registry has is not sent, and need not be here', async (here) => {
    const { ctx, metadata } = here
    const layer = await putLayer(here)
    const image = await name(here, await putManifest(here, [layer]))
    await push(here, image, 'team/twice:1')
    await metadata.content.delete(ctx, layer.digest)
    const told = await push(here, image, 'team/twice:2')
    const events = told.filter(({ name: of }) => /^(layer|config)-/.test(of ?? ''))
    assert.deepEqual([...new Set(events.map(({ event }) => event))], ['waiting', 'already exists'])
    const missing = push(here, image, 'team/elsewhere:1')
    await rejectsWith(
      'not_found',
      missing,
      new RegExp(`"${registry.host}/team/elsewhere:1".*${layer.digest}`),
    )
    await rejectsWith('not_found', resolved(here, 'team/elsewhere:1'))
  })

  check('an index goes after what is in it; tags of platforms are none', async (here) => {
    const one = await putManifest(here, [await putLayer(here)])
    const two = await putManifest(here, [await putLayer(here)])
    const inner = await putJson(here, mediaTypes.ociIndex, { manifests: [one, two] })
    const target = await putJson(here, mediaTypes.ociIndex, { manifests: [inner, one] })
    const told = await push(here, await name(here, target), 'team/multi:1', [], new Semaphore(1))
    assert.deepEqual(await resolved(here, 'team/multi:1'), target)
    const complete = told
      .filter(({ event }) => event === 'complete')
      .map(({ descriptor }) => descriptor?.digest)
    // Both manifests are asked for at once, and whichever is not there is sent first.
    assert.deepEqual(new Set(complete.slice(-4, -2)), new Set([one.digest, two.digest]))
    assert.deepEqual(complete.slice(-2), [inner.digest, target.digest])
  })

  check(
    'a platform alone goes where the others are; a part that is missing is named',
    async (here) => {
      const { ctx, metadata } = here
      const [one, other] = [
        await putManifest(here, [await putLayer(here)]),
        await putManifest(here, []),
      ]
      const manifests = [
        { ...one, platform: { os: 'linux', architecture: 'amd64' } },
        { ...other, platform: { os: 'linux', architecture: 'arm64' } },
      ]
      const image = await name(here, await putJson(here, mediaTypes.ociIndex, { manifests }))
      await rejectsWith(
        'failed_precondition',
        push(here, image, 'team/part:1', [amd64]),
        /MANIFEST_BLOB_UNKNOWN.*push all platforms/,
      )
      await push(here, image, 'team/part:1', [arm64]).catch(() => undefined)
      await push(here, image, 'team/part:1', [amd64])
      await metadata.content.delete(ctx, other.digest)
      await rejectsWith(
        'not_found',
        push(here, image, 'team/whole:1'),
        /also for linux\/arm64.*not here/,
      )
    },
  )

  check('layers are mounted from where they or their manifest came', async (here) => {
    const { ctx, metadata } = here
    const source = `containerd.io/distribution.source.127.0.0.1`
    const layer = await putLayer(here)
    const target = await putManifest(here, [layer])
    const image = await name(here, target)
    await push(here, image, 'first/app:1')
    const labels = { [source]: 'first/app,nobody/has' }
    await metadata.content.update(ctx, { digest: target.digest, labels }, [])
    await metadata.content.delete(ctx, layer.digest)
    const told = await push(here, image, 'second/app:1')
    assert.ok(
      told.some(
        ({ event, descriptor }) =>
          event === 'already exists' && descriptor?.digest === layer.digest,
      ),
    )
    assert.deepEqual(await resolved(here, 'second/app:1'), target)
  })

  check('content that is damaged here is refused', async (here) => {
    const { images, content } = here.metadata
    const [layer, other] = [await putLayer(here), await putLayer(here)]
    const damaged: PushPlace['content'] = {
      info: async (ctx, digest) => await content.info(ctx, digest),
      reader: async (ctx, digest) =>
        await content.reader(ctx, digest === layer.digest ? other.digest : digest),
    }
    const image = await name(here, await putManifest(here, [layer]))
    const pushing = pushImage(
      here.ctx,
      { images, content: damaged },
      { name: image },
      { reference: `${registry.host}/team/bad:1`, remotes },
    )
    await rejectsWith('data_loss', pushing, /not what its digest says.*DIGEST_INVALID/)
  })

  check('a name that is none, an image that is none', async (here) => {
    await rejectsWith('not_found', push(here, 'nobody', 'team/app:1'), /"nobody"/)
    const image = await name(here, await putManifest(here, []))
    await rejectsWith('invalid_argument', push(here, image, ''), /names no repository/)
  })
})

test('no more is sent at once than there are places', async (t) => {
  await withMetadata(t, async (here) => {
    let [now, most] = [0, 0]
    await using registry = await Hostile.open((request, response, path) => {
      if (request.method === 'HEAD') return response.writeHead(404).end()
      if (request.method === 'POST') {
        return response.writeHead(202, { location: `/v2/${path}x` }).end()
      }
      most = Math.max(most, ++now)
      return request.resume().on('end', () => {
        setTimeout(() => {
          now--
          response.writeHead(201).end()
        }, 50)
      })
    })
    await using remotes = new RegistryClient({ scheme: 'http' })
    const layers: Descriptor[] = []
    for (let i = 0; i < 12; i++) layers.push(await putLayer(here))
    const image = await name(here, await putManifest(here, layers))
    const { images, content } = here.metadata
    const place = { images, content, uploads: new Semaphore(3) }
    await pushImage(
      here.ctx,
      place,
      { name: image },
      { reference: `${registry.host}/a/b:1`, remotes },
    )
    assert.equal(most, 3)
  })
})

/** A registry that has `there` already, and mounts it or not; `asked` are its requests. */
const havingAll =
  (
    there: readonly Descriptor[],
    mounts: boolean,
    asked: string[],
    refusesMounts = false,
  ): Handler =>
  (request, response, full) => {
    const { pathname: path, searchParams: query } = new URL(full, 'http://x/')
    const has = (digest: string): boolean => there.some((each) => each.digest === digest)
    const isBlob = /blobs\/sha256/.test(path)
    asked.push(`${request.method} ${isBlob ? 'blob' : path}`)
    request.resume()
    if (request.method === 'HEAD' && isBlob)
      return response.writeHead(has(path.slice(path.indexOf('sha256:'))) ? 200 : 404).end()
    if (request.method === 'HEAD') return response.writeHead(404).end()
    if (refusesMounts && query.has('mount')) return response.writeHead(405).end()
    if (request.method !== 'POST') return request.on('end', () => response.writeHead(201).end())
    if (mounts && has(query.get('mount') ?? '')) return response.writeHead(201).end()
    return response.writeHead(202, { location: '/v2/a/b/upload' }).end()
  }

for (const mounts of [true, false]) {
  const which = mounts ? 'answers a mount of what it has' : 'never mounts'
  test(`a registry that ${which} is not sent again what is large`, async (t) => {
    await withMetadata(t, async (here) => {
      const layers: Descriptor[] = []
      for (let n = 0; n < 12; n++) layers.push(await put(here, layerType, randomBytes(600_000 + n)))
      const asked: string[] = []
      await using registry = await Hostile.open(havingAll(layers, mounts, asked))
      await using remotes = new RegistryClient({ scheme: 'http' })
      const image = await name(here, await putManifest(here, layers))
      const { images, content } = here.metadata
      const place = { images, content, uploads: new Semaphore(3) }
      const reference = `${registry.host}/a/b:1`
      const told: Progress[] = []
      const onProgress = (progress: Progress): void => void told.push(progress)
      await pushImage(here.ctx, place, { name: image }, { reference, remotes }, { onProgress })

      const count = (request: string): number => asked.filter((each) => each === request).length
      assert.equal(told.filter(({ event }) => event === 'already exists').length, layers.length)
      // The config alone.
      assert.equal(count('PUT /a/b/upload'), 1)
      if (mounts) return assert.equal(count('HEAD blob'), 0)
      // Those that were under way when it was found out.
      assert.ok(count('POST /a/b/blobs/uploads/') <= 9, asked.join('\n'))
      return assert.equal(count('HEAD blob'), layers.length)
    })
  })
}

test('a registry that refuses mounts is asked, and not sent again what is small either', async (t) => {
  await withMetadata(t, async (here) => {
    const layers = [await put(here, layerType, randomBytes(1000)), await putLayer(here)]
    const asked: string[] = []
    await using registry = await Hostile.open(havingAll(layers, false, asked, true))
    await using remotes = new RegistryClient({ scheme: 'http' })
    const image = await name(here, await putManifest(here, layers))
    const place = { images: here.metadata.images, content: here.metadata.content }
    await pushImage(
      here.ctx,
      place,
      { name: image },
      { reference: `${registry.host}/a/b:1`, remotes },
    )
    // The config alone.
    assert.equal(asked.filter((each) => each === 'PUT /a/b/upload').length, 1)
  })
})
