import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, suite, test } from 'node:test'

import { writeBlob } from '#core/content/write-blob.ts'
import { aloneAnnotation, type Differ } from '#core/diff/diff.ts'
import type { ManifestEntry } from '#core/images/oci.ts'
import { rebaseCapability } from '#core/snapshots/snapshotter.ts'
import { unpackImage } from '#core/unpack/unpack-image.ts'
import type { ImageToUnpack } from '#core/unpack/unpack.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { OverlaySnapshotter } from '#plugins/snapshots/overlay/overlay.ts'
import { withMetadata } from '#testing/metadata.ts'

import { transferDefaults } from './config.ts'
import { configuredPlaces } from './places.ts'

const blobOf = (text: string): ManifestEntry => ({
  mediaType: 'application/vnd.oci.image.layer.v1.tar',
  digest: digestOf(text),
  size: text.length,
})

/** The layers are what they are called. */
const imageOf = (name: string, layers: readonly string[]): ImageToUnpack => ({
  manifest: { config: blobOf(name), layers: layers.map(blobOf) },
  config: {
    user: '',
    env: [],
    entrypoint: [],
    cmd: [],
    workingDir: '',
    stopSignal: '',
    diffIds: layers.map((text) => digestOf(text)),
  },
})

/** Counts how many layers are extracted at once, and lets each wait for others that may begin. */
class CountingDiffer implements Pick<Differ, 'apply'> {
  most = 0
  #now = 0

  readonly apply: Differ['apply'] = async (_ctx, layer) => {
    this.most = Math.max(this.most, ++this.#now)
    for (let turns = 0; turns < 50; turns++) await new Promise(setImmediate)
    this.#now--
    return layer
  }
}

/** Unpacks two images of three layers at once. @returns how many layers were extracted at once. */
async function mostAtOnce(t: TestContext, maxConcurrentUnpacks: number): Promise<number> {
  const counting = new CountingDiffer()
  const overlay = { asyncRemove: false, upperdirLabel: false, mountOptions: [] }
  await withMetadata(
    t,
    async ({ ctx, metadata }) => {
      const differ: Differ = { apply: counting.apply, compare: () => assert.fail('not here') }
      const place = configuredPlaces({
        config: { ...transferDefaults, maxConcurrentUnpacks },
        metadata,
        differs: new Map([['walking', differ]]),
        metaOf: () => ({
          platforms: [],
          capabilities: [rebaseCapability, aloneAnnotation],
          exports: {},
        }),
      })({})
      assert.ok(place)
      const images = ['a', 'b'].map((name) => [name, [1, 2, 3].map((n) => `${name}${n}`)] as const)
      for (const [name, layers] of images) {
        for (const text of [name, ...layers]) {
          const options = { ref: text, digest: digestOf(text) }
          await writeBlob(ctx, metadata.content, [Buffer.from(text)], options)
        }
      }
      await Promise.all(
        images.map(async ([name, layers]) => await unpackImage(ctx, place, imageOf(name, layers))),
      )
    },
    async (ctx, root) => ({
      snapshotters: new Map([
        ['overlayfs', await OverlaySnapshotter.open(ctx, join(root, 'overlayfs'), overlay)],
      ]),
    }),
  )
  return counting.most
}

void suite('max_concurrent_unpacks', { skip: process.getuid?.() !== 0 && 'needs root' }, () => {
  for (const most of [1, 2]) {
    void test(`${most} is for all images together`, async (t) => {
      assert.equal(await mostAtOnce(t, most), most)
    })
  }

  void test('that is not set lets several layers of each image be extracted', async (t) => {
    assert.ok((await mostAtOnce(t, transferDefaults.maxConcurrentUnpacks)) > 2)
  })
})
