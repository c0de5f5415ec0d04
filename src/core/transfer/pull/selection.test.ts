import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'

import type { Descriptor } from '#core/images/images.ts'
import { mediaTypes } from '#core/images/oci.ts'
import { parsePlatform } from '#core/platforms/platforms.ts'
import { checkPull as check } from '#testing/pulling.ts'
import { rejectsWith } from '#testing/rejects.ts'

const amd64 = parsePlatform('linux/amd64')
const arm64 = parsePlatform('linux/arm64')
const armv6 = parsePlatform('linux/arm/v6')
const child = 'containerd.io/gc.ref.content'

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
