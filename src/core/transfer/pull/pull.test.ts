import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import type { ServerResponse } from 'node:http'

import { readBlob } from '#core/content/read-blob.ts'
import { writeBlob } from '#core/content/write-blob.ts'
import { refKey } from '#core/transfer/ref-key.ts'
import type { Progress } from '#core/transfer/transfer.ts'
import type { ImageVerifier } from '#core/verification/verification.ts'
import { checkPull as check } from '#testing/pulling.ts'
import { rejectsWith } from '#testing/rejects.ts'

import { defaultSplitting } from './receive.ts'

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
