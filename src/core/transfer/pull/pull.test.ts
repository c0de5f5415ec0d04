import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { type TestContext, test } from 'node:test'

import { readBlob } from '#core/content/read-blob.ts'
import { writeBlob } from '#core/content/write-blob.ts'
import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import { mediaTypes } from '#core/images/oci.ts'
import type { Metadata } from '#core/metadata/metadata.ts'
import { parsePlatform } from '#core/platforms/platforms.ts'
import { refKey } from '#core/transfer/ref-key.ts'
import type { ImageTarget, Progress } from '#core/transfer/transfer.ts'
import type { ImageVerifier } from '#core/verification/verification.ts'
import { openClient } from '#testing/hostile-registry.ts'
import { ImageRegistry } from '#testing/image-registry.ts'
import { withMetadata } from '#testing/metadata.ts'
import { rejectsWith } from '#testing/rejects.ts'

import { Downloads } from './downloads.ts'
import { pullImage } from './pull.ts'
import { defaultSplitting } from './receive.ts'

const amd64 = parsePlatform('linux/amd64')
const arm64 = parsePlatform('linux/arm64')
const armv6 = parsePlatform('linux/arm/v6')

interface Given {
  readonly ctx: Context
  readonly metadata: Metadata
  readonly registry: ImageRegistry
  readonly events: Progress[]
  /** Pulls `reference` under its own name. */
  readonly pull: (reference: string, into?: Partial<ImageTarget>, ctx?: Context) => Promise<void>
  /** What is in the content store. */
  readonly has: (target: Descriptor, ctx?: Context) => Promise<boolean>
}

interface GivenOptions {
  readonly verifiers?: ReadonlyMap<string, ImageVerifier>
  readonly policy?: 'shared' | 'isolated'
  readonly partBytes?: number
}

function check(
  title: string,
  body: (given: Given) => Promise<void>,
  { verifiers = new Map(), policy = 'shared', partBytes = 0 }: GivenOptions = {},
): void {
  void test(title, { timeout: 60_000 }, async (t: TestContext) => {
    await using registry = await ImageRegistry.open()
    await using remotes = openClient()
    const run = async (ctx: Context, metadata: Metadata): Promise<void> => {
      const { content } = metadata
      const downloads = new Downloads({ content, atOnce: 3, partBytes })
      const stores = { ...metadata, content, unpackPlace: () => undefined }
      const events: Progress[] = []
      await body({
        ctx,
        metadata,
        registry,
        events,
        async pull(reference, into = {}, own = ctx) {
          const parts = { stores, verifiers, downloads }
          const onProgress = (progress: Progress): void => void events.push(progress)
          const end = { reference, remotes }
          await pullImage(own, parts, end, { name: reference, ...into }, { onProgress })
        },
        has: async ({ digest }, own = ctx) =>
          await content.info(own, digest).then(
            () => true,
            () => false,
          ),
      })
      assert.deepEqual(await metadata.leases.list(ctx), [])
    }
    await withMetadata(
      t,
      async ({ ctx, metadata }) => await run(ctx, metadata),
      () => ({ policy }),
    )
  })
}

const child = 'containerd.io/gc.ref.content'
const source = 'containerd.io/distribution.source.127.0.0.1'

check(
  'an image is loaded with its labels, and named',
  async ({ ctx, metadata, registry, pull }) => {
    const layer = registry.put('application/vnd.oci.image.layer.v1.tar', randomBytes(300_000))
    const { platform: _, ...manifest } = registry.putImage([layer, randomBytes(10)])
    const name = registry.tag(manifest, 'v1')
    await pull(name, { labels: { a: 'b' } })
    const image = await metadata.images.get(ctx, name)
    assert.deepEqual({ ...image.target }, manifest)
    assert.deepEqual(image.labels, { a: 'b' })
    const info = async (digest: string) => (await metadata.content.info(ctx, digest)).labels
    assert.deepEqual(await info(layer.digest), { [source]: 'test/image' })
    const labels = await info(manifest.digest)
    assert.deepEqual(Object.keys(labels).toSorted(), [
      source,
      `${child}.config`,
      `${child}.l.0`,
      `${child}.l.1`,
    ])
    assert.equal(labels[`${child}.l.0`], layer.digest)
    await metadata.collect(ctx)
    assert.deepEqual(await info(layer.digest), { [source]: 'test/image' })
  },
)

check(
  'what happens is told, each thing under what it belongs to',
  async ({ registry, pull, events }) => {
    const manifest = registry.putImage([randomBytes(300_000)])
    const name = registry.tag(manifest, 'v1')
    await pull(name)
    const line = ({ event, name: what = '', parents = [] }: Progress): string =>
      [event, what.split('-')[0], ...parents.map((parent) => parent.split('-')[0])].join(' ').trim()
    const [registryName, image] = [`OCI Registry (${name})`, name]
    assert.deepEqual(
      events.map(line).filter((text) => !text.startsWith('downloading')),
      [
        `Resolving from ${registryName}`,
        `Pulling from ${registryName}`,
        `fetching image content ${image}`,
        `waiting manifest ${image}`,
        `complete manifest ${image}`,
        'waiting config manifest',
        'complete config manifest',
        'waiting layer manifest',
        'complete layer manifest',
        `saved ${image}`,
        `Completed pull from ${registryName}`,
      ],
    )
    const complete = events.filter(({ event }) => event === 'complete')
    for (const { progress, total } of complete) assert.equal(progress, total)
    events.length = 0
    await pull(name)
    const again = events.map(({ event }) => event)
    assert.equal(again.filter((event) => event === 'already exists').length, 3)
  },
)

check(
  'pulls at once load a blob once, in whatever namespace',
  async ({ ctx, registry, pull, has }) => {
    const layer = registry.put('application/vnd.oci.image.layer.v1.tar', randomBytes(500_000))
    const name = registry.tag(registry.putImage([layer]), 'v1')
    const other = { ...ctx, namespace: 'other' }
    const all = Array.from({ length: 6 }, async (_, i) => await pull(name, {}, i % 2 ? ctx : other))
    await Promise.all(all)
    assert.equal(registry.timesAsked(layer), 1)
    assert.ok((await has(layer)) && (await has(layer, other)))
  },
)

check(
  'namespaces that share nothing load for themselves',
  async ({ ctx, registry, pull, has }) => {
    const layer = registry.put('application/vnd.oci.image.layer.v1.tar', randomBytes(500_000))
    const name = registry.tag(registry.putImage([layer]), 'v1')
    const other = { ...ctx, namespace: 'other' }
    await Promise.all([pull(name), pull(name, {}, other)])
    assert.equal(registry.timesAsked(layer), 2)
    assert.ok((await has(layer)) && (await has(layer, other)))
  },
  { policy: 'isolated' },
)

check(
  'when who loads a blob gives up, the next goes on',
  async ({ ctx, metadata, registry, pull }) => {
    const layer = registry.put('application/vnd.oci.image.layer.v1.tar', randomBytes(500_000))
    const name = registry.tag(registry.putImage([layer]), 'v1')
    const asked = Promise.withResolvers<void>()
    registry.meddle = (digest) => {
      if (digest !== layer.digest || registry.timesAsked(layer) > 1) return false
      asked.resolve()
      return true
    }
    const giveUp = new AbortController()
    const first = pull(name, { name: 'first' }, { ...ctx, signal: giveUp.signal })
    await asked.promise
    const second = pull(name, { name: 'second' })
    giveUp.abort(new Error('no longer wanted'))
    await assert.rejects(first, /no longer wanted/)
    await second
    await rejectsWith('not_found', metadata.images.get(ctx, 'first'))
    assert.equal(registry.timesAsked(layer), 2)
  },
)

check(
  'bytes that are not what they should be leave nothing',
  async ({ ctx, metadata, registry, pull }) => {
    const layer = registry.put('application/vnd.oci.image.layer.v1.tar', randomBytes(500_000))
    const name = registry.tag(registry.putImage([layer]), 'v1')
    registry.meddle = (digest, response) => {
      if (digest === layer.digest) response.end(Buffer.alloc(layer.size))
      return digest === layer.digest
    }
    await rejectsWith('failed_precondition', pull(name))
    registry.meddle = (digest, response) => {
      if (digest === layer.digest) response.end(Buffer.alloc(layer.size + 1))
      return digest === layer.digest
    }
    await rejectsWith('data_loss', pull(name))
    await rejectsWith('not_found', metadata.images.get(ctx, name))
    registry.meddle = () => false
    await pull(name)
  },
)

check(
  'what was cut off goes on where it was, and is loaded anew when it was wrong',
  async ({ ctx, metadata, registry, pull, has }) => {
    const bytes = randomBytes(500_000)
    const layer = registry.put('application/vnd.oci.image.layer.v1.tar', bytes)
    const name = registry.tag(registry.putImage([layer]), 'v1')
    const begin = async (begun: Uint8Array): Promise<void> => {
      const options = { ref: refKey(layer), total: layer.size, expected: layer.digest }
      await using writer = await metadata.content.writer(ctx, options)
      await writer.write(ctx, begun)
    }
    await begin(bytes.subarray(0, 200_000))
    await pull(name)
    assert.deepEqual(registry.asked.at(-1), `${layer.digest} bytes=200000-`)
    await metadata.images.delete(ctx, name)
    await metadata.collect(ctx)
    assert.ok(!(await has(layer)))
    await begin(randomBytes(200_000))
    await pull(name)
    assert.deepEqual(registry.asked.slice(-2), [`${layer.digest} bytes=200000-`, layer.digest])
    assert.ok(await has(layer))
  },
)

check(
  'a large blob is received in parts, unless the host gives none, and a part that is missing fails it',
  async ({ ctx, metadata, registry, pull, has }) => {
    const layers = ['a', 'b', 'c'].map(() =>
      registry.put('application/vnd.oci.image.layer.v1.tar', randomBytes(1_000_001)),
    )
    const [parts, whole, broken] = layers
    assert.ok(parts && whole && broken)
    await pull(registry.tag(registry.putImage([parts]), 'parts'))
    assert.ok(await has(parts))
    const ranges = registry.asked.filter((line) => / bytes=\d+-\d+$/.test(line))
    assert.ok(ranges.length > 4, registry.asked.join('\n'))

    registry.meddle = (digest, response) => {
      if (digest === whole.digest) response.end(registry.bytesOf(whole))
      return digest === whole.digest
    }
    await pull(registry.tag(registry.putImage([whole]), 'whole'))
    assert.ok(await has(whole))

    registry.meddle = (digest, response, range) => {
      if (digest !== broken.digest || !range || range === 'bytes=0-0') return false
      const [, from] = /=(\d+)-/.exec(range) ?? []
      if (Number(from) < 500_000) return false
      response.writeHead(404).end()
      return true
    }
    await rejectsWith('not_found', pull(registry.tag(registry.putImage([broken]), 'broken')))
    registry.meddle = () => false
    await pull(registry.tag(registry.putImage([broken]), 'broken'))
    assert.ok(await has(broken))
    assert.equal((await metadata.content.listStatuses(ctx)).length, 0)
  },
  { partBytes: 100_000 },
)

check(
  'what one connection brings slowly comes in parts over several',
  async ({ ctx, metadata, registry, pull }) => {
    const bytes = randomBytes(5 * defaultSplitting.bytes)
    const layer = registry.put('application/vnd.oci.image.layer.v1.tar', bytes)
    const slow = Promise.withResolvers<void>()
    const ranges: (readonly [from: number, to: number])[] = []
    const together = Promise.withResolvers<void>()
    registry.meddle = async (digest, response, range) => {
      if (digest !== layer.digest) return false
      if (range === undefined) {
        dribble(response.writeHead(200, { 'content-length': layer.size }), bytes)
        response.on('close', () => slow.resolve())
        return true
      }
      const [from = 0, to = 0] = range.replace('bytes=', '').split('-').map(Number)
      // Whether it gives parts at all.
      if (from === to) return false
      ranges.push([from, to])
      // Nobody gets a part before as many are asked for as may be.
      if (ranges.length === defaultSplitting.atOnce) together.resolve()
      await together.promise
      return false
    }
    await pull(registry.tag(registry.putImage([layer]), 'v1'))
    await slow.promise
    const sorted = ranges.toSorted(([a], [b]) => a - b)
    assert.ok((sorted[0]?.[0] ?? 0) > 0, 'what the slow connection brought is kept')
    for (const [i, [from]] of sorted.entries()) {
      if (i > 0) assert.equal(from, (sorted[i - 1]?.[1] ?? 0) + 1)
    }
    assert.equal(sorted.at(-1)?.[1], layer.size - 1)
    const got = await readBlob(ctx, metadata.content, layer.digest, layer.size)
    assert.ok(bytes.equals(got))
  },
)

/** Sends `bytes` in small pieces, one now and then, until the other side has enough of it. */
function dribble(response: ServerResponse, bytes: Uint8Array): void {
  let at = 0
  const timer = setInterval(() => {
    response.write(bytes.subarray(at, at + 4096))
    at += 4096
  }, 20)
  response.on('close', () => clearInterval(timer))
}

check(
  'of an index the wanted platforms are loaded, and all its children kept',
  async ({ ctx, metadata, registry, pull, has }) => {
    const images = [amd64, arm64, armv6].map((platform) =>
      registry.putImage([randomBytes(1000)], platform),
    )
    const [pc, phone, old] = images
    assert.ok(pc && phone && old)
    const inner = registry.putIndex([phone, old])
    const index = registry.putIndex([pc, inner])
    const name = registry.tag(index, 'v1')
    await pull(name, { platforms: [arm64] })
    assert.deepEqual(await Promise.all(images.map(async (image) => await has(image))), [
      false,
      true,
      false,
    ])
    const { labels } = await metadata.content.info(ctx, index.digest)
    assert.equal(labels[`${child}.m.0`], pc.digest)
    assert.equal(labels[`${child}.0`], inner.digest)
    await pull(name)
    for (const image of images) assert.ok(await has(image))
  },
)

check(
  'the best of several is loaded when there is a limit, and metadata of all when asked',
  async ({ registry, pull, has }) => {
    const layers = [amd64, arm64].map(() =>
      registry.put('application/vnd.oci.image.layer.v1.tar', randomBytes(1000)),
    )
    const [pcLayer, phoneLayer] = layers
    assert.ok(pcLayer && phoneLayer)
    const pc = registry.putImage([pcLayer], amd64)
    const phone = registry.putImage([phoneLayer], arm64)
    const name = registry.tag(registry.putIndex([pc, phone]), 'v1')
    await pull(name, { platforms: [arm64, amd64], manifestLimit: 1 })
    assert.ok((await has(phone)) && !(await has(pc)))
    await pull(name, { platforms: [arm64], allMetadata: true })
    assert.ok((await has(pc)) && !(await has(pcLayer)) && (await has(phoneLayer)))
  },
)

check(
  'a machine gets what it runs when there is nothing for itself',
  async ({ registry, pull, has }) => {
    const v5 = registry.putImage([randomBytes(9)], parsePlatform('linux/arm/v5'))
    const v6 = registry.putImage([randomBytes(9)], armv6)
    const name = registry.tag(registry.putIndex([v5, v6]), 'v1')
    await pull(name, { platforms: [arm64] })
    assert.ok((await has(v6)) && !(await has(v5)))
    await rejectsWith(
      'not_found',
      pull(name, { name: 'pc', platforms: [amd64] }),
      /wanted is linux\/amd64, and it has linux\/arm\/v5, linux\/arm\/v6/,
    )
  },
)

check('indexes in indexes come to an end', async ({ registry, pull }) => {
  let next: Descriptor = registry.putImage([randomBytes(9)])
  for (let depth = 0; depth < 8; depth++) next = registry.putIndex([next])
  await pull(registry.tag(next, 'deep'))
  await rejectsWith('invalid_argument', pull(registry.tag(registry.putIndex([next]), 'deeper')))
})

check('old or disguised manifests are refused', async ({ registry, pull }) => {
  const old = registry.putJson('application/vnd.docker.distribution.manifest.v1+prettyjws', {})
  await rejectsWith('unimplemented', pull(registry.tag(old, 'old')), /schema 1/)
  const holder = registry.tag(registry.putIndex([old]), 'holder')
  await rejectsWith('invalid_argument', pull(holder), /schema 1 image manifests/)
  const image = registry.putImage([randomBytes(9)])
  for (const [type, value] of [
    [mediaTypes.ociManifest, { manifests: [image], config: image, layers: [] }],
    [mediaTypes.ociIndex, { manifests: [], config: image }],
    [mediaTypes.ociIndex, { mediaType: mediaTypes.ociManifest, manifests: [image] }],
  ] as const) {
    const name = registry.tag(registry.putJson(type, value), 'disguised')
    await rejectsWith('invalid_argument', pull(name), /but found/)
  }
})

check(
  'further names are given, and go with the first',
  async ({ ctx, metadata, registry, pull }) => {
    const image = registry.putImage([randomBytes(9)])
    const name = registry.tag(image, 'v1')
    const reference = {
      isPrefix: false,
      allowOverwrite: false,
      addDigest: false,
      skipNamedDigest: false,
    }
    const prefix = { ...reference, name: 'team/app', isPrefix: true }
    const extraReferences = [
      { ...reference, name: 'other:1' },
      prefix,
      { ...prefix, addDigest: true },
    ]
    await pull(name, { extraReferences })
    const names = async (): Promise<string[]> =>
      (await metadata.images.list(ctx)).map((each) => each.name).toSorted()
    assert.deepEqual(await names(), [name, 'other:1', `team/app@${image.digest}`].toSorted())
    await metadata.images.delete(ctx, name)
    await metadata.collect(ctx)
    assert.deepEqual(await names(), [])
  },
)

const asked: string[] = []
const saying = (ok: boolean, reason: string): ImageVerifier => ({
  verify: async (_ctx, { name, names, target }) => {
    asked.push(name, ...names, target.digest)
    return await Promise.resolve({ ok, reason })
  },
})

check(
  'an image that a verifier refuses is not loaded',
  async ({ registry, pull, has }) => {
    const image = registry.putImage([randomBytes(9)])
    const name = registry.tag(image, 'v1')
    await rejectsWith(
      'permission_denied',
      pull(name, { name: 'mine' }),
      /image verifier no blocked pull of .* for reason: because/,
    )
    assert.deepEqual(asked, [name, 'mine', image.digest, name, 'mine', image.digest])
    assert.ok(!(await has(image)))
  },
  {
    verifiers: new Map([
      ['yes', saying(true, 'fine')],
      ['no', saying(false, 'because')],
    ]),
  },
)

check(
  'a blob that an earlier image has stays as it is',
  async ({ ctx, metadata, registry, pull }) => {
    const bytes = randomBytes(1000)
    const image = registry.putImage([bytes])
    const layer = registry.put('application/vnd.oci.image.layer.v1.tar', bytes)
    const { digest } = layer
    await writeBlob(ctx, metadata.content, [bytes], { ref: 'x', digest, labels: { [source]: 'a' } })
    await pull(registry.tag(image, 'v1'))
    const { labels } = await metadata.content.info(ctx, digest)
    assert.deepEqual(labels, { [source]: 'a,test/image' })
    assert.equal(registry.timesAsked(layer), 0)
  },
)
