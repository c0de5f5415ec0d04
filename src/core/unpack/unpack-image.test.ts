import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, suite, test } from 'node:test'

import type { Store } from '#core/content/content.ts'
import { writeBlob } from '#core/content/write-blob.ts'
import type { Context } from '#core/context.ts'
import { aloneAnnotation } from '#core/diff/diff.ts'
import { chainIds } from '#core/images/chain-id.ts'
import type { Descriptor } from '#core/images/images.ts'
import type { ManifestEntry } from '#core/images/oci.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import { KeyedMutex } from '#lib/async/keyed-mutex.ts'
import { digestOf } from '#lib/digest/digest.ts'
import {
  alreadyExists,
  failedPrecondition,
  notFound,
  resourceExhausted,
} from '#lib/errors/errors.ts'
import { OverlaySnapshotter } from '#plugins/snapshots/overlay/overlay.ts'
import { withMetadata } from '#testing/metadata.ts'
import { overriding } from '#testing/overriding.ts'
import { rejectsWith } from '#testing/rejects.ts'

import { unpackImage } from './unpack-image.ts'
import type { ImageToUnpack, UnpackPlace } from './unpack.ts'

const blobOf = (text: string): ManifestEntry => ({
  mediaType: 'application/vnd.oci.image.layer.v1.tar',
  digest: digestOf(text),
  size: text.length,
})

/** The layers are what they are called, and uncompressed. */
const imageOf = (...layers: readonly string[]): ImageToUnpack => ({
  manifest: { config: blobOf(`config of ${layers.join(' ')}`), layers: layers.map(blobOf) },
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

const topOf = (...layers: readonly string[]): string =>
  chainIds(layers.map((text) => digestOf(text))).at(-1) ?? ''

interface Given {
  readonly ctx: Context
  readonly place: UnpackPlace
  readonly sn: Snapshotter
  /** What was extracted, by the text of the layer; `+` when it was alone. */
  readonly applied: string[]
  readonly put: (ctx: Context, image: ImageToUnpack, texts: readonly string[]) => Promise<void>
}

const texts = ['a', 'b', 'c', 'needs what is below']
const textOf = ({ digest }: Descriptor): string =>
  texts.find((text) => digestOf(text) === digest) ?? ''

/** Runs `body` on real metadata and snapshots, and a differ that extracts nothing. */
async function withPlace(
  t: TestContext,
  body: (given: Given) => Promise<void>,
  canRebase = true,
): Promise<void> {
  const applied: string[] = []
  const overlay = { asyncRemove: false, upperdirLabel: false, mountOptions: [] }
  await withMetadata(
    t,
    async ({ ctx, metadata }) => {
      const sn = metadata.snapshotters.get('overlayfs')
      assert.ok(sn)
      const place: UnpackPlace = {
        content: metadata.content,
        differ: { apply: async (_ctx, layer) => await apply(layer, applied) },
        snapshotter: sn,
        snapshotterName: 'overlayfs',
        canRebase: async () => await Promise.resolve(canRebase),
        atOnce: 2,
        locks: new KeyedMutex(),
      }
      const put: Given['put'] = async (into, image, all) =>
        await putAll(into, metadata.content, image, all)
      await body({ ctx, place, sn, applied, put })
    },
    async (ctx, root) => ({
      snapshotters: new Map([
        ['overlayfs', await OverlaySnapshotter.open(ctx, join(root, 'overlayfs'), overlay)],
      ]),
    }),
  )
}

async function apply(layer: Descriptor, applied: string[]): Promise<Descriptor> {
  const alone = layer.annotations?.[aloneAnnotation] !== undefined
  const text = textOf(layer)
  applied.push(`${alone ? '+' : ''}${text}`)
  await Promise.resolve()
  if (alone && text === 'needs what is below') throw failedPrecondition('not alone')
  return layer
}

async function putAll(
  ctx: Context,
  content: Pick<Store, 'writer'>,
  { manifest }: ImageToUnpack,
  layers: readonly string[],
): Promise<void> {
  for (const text of [`config of ${layers.join(' ')}`, ...layers]) {
    await writeBlob(ctx, content, [Buffer.from(text)], { ref: text, digest: digestOf(text) })
  }
  assert.equal(manifest.layers.length, layers.length)
}

const root = { skip: process.getuid?.() !== 0 && 'needs root' }

void suite('unpacking', root, () => {
  for (const canRebase of [true, false]) {
    const how = canRebase ? 'put on each other later' : 'one on the other'
    void test(`layers ${how} are extracted as they come`, async (t) => {
      const body = async ({ ctx, place, sn, applied, put }: Given): Promise<void> => {
        const image = imageOf('a', 'b', 'c')
        await put(ctx, image, ['a', 'b', 'c'])
        const asked: string[] = []
        const came = new Map(texts.map((text) => [text, Promise.withResolvers<void>()]))
        const events: string[] = []
        const unpacked = unpackImage(ctx, place, image, {
          async arrived(_ctx, layer) {
            asked.push(textOf(layer))
            if (asked.length === 3) came.get('c')?.resolve()
            await came.get(textOf(layer))?.promise
          },
          onProgress({ event, layer }) {
            events.push(`${event} ${textOf(layer)}`)
            // The others come when the last is under way, if that can be; else all at once.
            if (canRebase && layer === image.manifest.layers[2]) came.get('b')?.resolve()
            if (event === 'extracting' && textOf(layer) === 'b') came.get('a')?.resolve()
          },
        })
        if (!canRebase) for (const { resolve } of came.values()) resolve()
        assert.equal(await unpacked, topOf('a', 'b', 'c'))
        assert.deepEqual(asked, ['a', 'b', 'c'])
        assert.deepEqual(applied, canRebase ? ['+c', '+b', 'a'] : ['a', 'b', 'c'])
        assert.deepEqual(
          events.filter((line) => line.startsWith('extracted')),
          ['extracted a', 'extracted b', 'extracted c'],
        )
        assert.equal((await sn.stat(ctx, topOf('a', 'b', 'c'))).parent, topOf('a', 'b'))
      }
      await withPlace(t, body, canRebase)
    })
  }

  void test('layers that are there need not come', async (t) => {
    await withPlace(t, async ({ ctx, place, applied, put }) => {
      await put(ctx, imageOf('a', 'b'), ['a', 'b'])
      await unpackImage(ctx, place, imageOf('a', 'b'))
      await put(ctx, imageOf('a', 'b', 'c'), ['a', 'b', 'c'])
      applied.length = 0
      const asked: string[] = []
      const arrived = async (_ctx: Context, layer: ManifestEntry): Promise<void> => {
        asked.push(textOf(layer))
        await Promise.resolve()
      }
      await unpackImage(ctx, place, imageOf('a', 'b', 'c'), { arrived })
      await unpackImage(ctx, place, imageOf('a', 'b'), { arrived })
      assert.deepEqual(asked, ['c'])
      assert.deepEqual(applied, ['c'])
    })
  })

  void test('layers that a snapshotter gets itself do not come', async (t) => {
    await withPlace(
      t,
      async ({ ctx, place, sn, applied, put }) => {
        const names = ['a', 'b', 'c']
        await put(ctx, imageOf(...names), names)
        const remote = new Set([topOf('a'), topOf('a', 'b')])
        const snapshotter: Snapshotter = overriding(sn, {
          async prepare(own, key, parent, options) {
            const name = options?.labels?.['containerd.io/snapshot.ref'] ?? ''
            if (!remote.delete(name)) return await sn.prepare(own, key, parent, options)
            await sn.prepare(own, key, parent, options)
            await sn.commit(own, name, key, options)
            throw alreadyExists(name)
          },
        })
        const asked: string[] = []
        const arrived = async (_ctx: Context, layer: ManifestEntry): Promise<void> => {
          asked.push(textOf(layer))
          await Promise.resolve()
        }
        await unpackImage(ctx, { ...place, snapshotter }, imageOf(...names), { arrived })
        assert.deepEqual(asked, ['c'])
        assert.deepEqual(applied, ['c'])
        assert.equal((await sn.stat(ctx, topOf(...names))).kind, 'committed')
      },
      false,
    )
  })

  void test('a disk that is full before a layer is begun is told of like one that fills up', async (t) => {
    await withPlace(t, async ({ ctx, place, sn, put }) => {
      await put(ctx, imageOf('a'), ['a'])
      const full = resourceExhausted('write /x/metadata.db: no space left on device')
      const prepare = async (): Promise<never> => await Promise.reject(full)
      const snapshotter: Snapshotter = overriding(sn, { prepare })
      await rejectsWith(
        'resource_exhausted',
        unpackImage(ctx, { ...place, snapshotter }, imageOf('a')),
        /^unpack layer sha256:[0-9a-f]{64} of .*: write \/x\/metadata\.db: no space left on device.*; make room there, and try again/,
      )
    })
  })

  void test('a snapshotter hears what a manifest says of a layer, but not whose its files are', async (t) => {
    await withPlace(t, async ({ ctx, place, sn, put }) => {
      await put(ctx, imageOf('a'), ['a'])
      const { manifest, config } = imageOf('a')
      const annotations = {
        'containerd.io/snapshot/remote': 'yes',
        'containerd.io/snapshot/uidmapping': '0:1000:1',
        'org.example': 'no',
      }
      const layers = manifest.layers.map((layer) => ({ ...layer, annotations }))
      await unpackImage(ctx, place, { config, manifest: { ...manifest, layers } })
      const { labels } = await sn.stat(ctx, topOf('a'))
      assert.deepEqual(Object.keys(labels).toSorted(), [
        'containerd.io/snapshot.ref',
        'containerd.io/snapshot/diff-id',
        'containerd.io/snapshot/remote',
      ])
    })
  })

  void test('a layer that needs what is below it waits for that', async (t) => {
    await withPlace(t, async ({ ctx, place, applied, put }) => {
      const names = ['a', 'needs what is below']
      await put(ctx, imageOf(...names), names)
      await unpackImage(ctx, place, imageOf(...names))
      assert.deepEqual(applied.toSorted(), ['+needs what is below', 'a', 'needs what is below'])
      assert.equal(applied.at(-1), 'needs what is below')
    })
  })

  void test('a layer that leaves something out is told what is below when it is put there', async (t) => {
    await withPlace(t, async ({ ctx, place, sn, applied, put }) => {
      await put(ctx, imageOf('a', 'b'), ['a', 'b'])
      const told: (readonly string[])[] = []
      const differ: UnpackPlace['differ'] = {
        async apply(_ctx, layer, mounts, { settles } = {}) {
          await apply(layer, applied)
          if (settles !== true) return layer
          assert.equal(mounts[0]?.type, 'overlay')
          return {
            ...layer,
            settle: async (_own, below) => {
              await Promise.resolve(told.push(below))
            },
          }
        },
      }
      await unpackImage(ctx, { ...place, settles: true, differ }, imageOf('a', 'b'))
      // Both at once.
      assert.deepEqual(applied.toSorted(), ['+b', 'a'])
      assert.deepEqual(
        told.map((below) => below.length),
        [1],
      )
      assert.equal((await sn.stat(ctx, topOf('a', 'b'))).parent, topOf('a'))
    })
  })

  void test('many unpackings of one image are one; another namespace sees nothing of it', async (t) => {
    await withPlace(t, async ({ ctx, place, sn, applied, put }) => {
      const other = { ...ctx, namespace: 'other' }
      for (const into of [ctx, other]) await put(into, imageOf('a', 'b'), ['a', 'b'])
      await Promise.all(
        Array.from({ length: 5 }, async () => await unpackImage(ctx, place, imageOf('a', 'b'))),
      )
      assert.equal(applied.length, 2)
      await rejectsWith('not_found', sn.stat(other, topOf('a')))
      await unpackImage(other, place, imageOf('a', 'b'))
      assert.equal(applied.length, 4)
    })
  })

  for (const takesComing of [true, false]) {
    const title = takesComing
      ? 'a layer that cannot be extracted while it comes is extracted again when it is there'
      : 'a differ that reads from the store alone gets no layer that still comes'
    void test(title, async (t) => {
      await withPlace(t, async ({ ctx, place, sn, put }) => {
        const image = imageOf('a')
        await put(ctx, image, ['a'])
        const calls: string[] = []
        const differ: UnpackPlace['differ'] = {
          async apply(_ctx, layer, _mounts, { coming } = {}) {
            calls.push(coming ? 'coming' : 'there')
            await Promise.resolve()
            if (coming) throw new Error('the rest does not come')
            return layer
          },
        }
        await unpackImage({ ...ctx }, { ...place, takesComing, differ }, image, {
          async arrived(_own, { size }, onComing) {
            onComing({ path: '/none', size, there: new BigInt64Array(1) })
            await new Promise((resolve) => setImmediate(resolve))
            calls.push('arrived')
          },
        })
        const expected = takesComing ? ['coming', 'arrived', 'there'] : ['arrived', 'there']
        assert.deepEqual(calls, expected)
        assert.equal((await sn.stat(ctx, topOf('a'))).kind, 'committed')
        assert.equal((await Array.fromAsync(sn.list(ctx))).length, 1)
      })
    })
  }

  void test('a layer that does not come, or is not what it should be, leaves nothing behind', async (t) => {
    await withPlace(t, async ({ ctx, place, sn, put }) => {
      await put(ctx, imageOf('a', 'b'), ['a', 'b'])
      const arrived = async (own: Context, layer: ManifestEntry): Promise<void> => {
        await Promise.resolve()
        if (textOf(layer) === 'b') throw notFound('b is gone')
        // It would never come, but for the failure of the other.
        await new Promise((_resolve, reject) => {
          own.signal.addEventListener('abort', () => reject(new Error('aborted')))
        })
      }
      await rejectsWith('not_found', unpackImage(ctx, place, imageOf('a', 'b'), { arrived }))
      const image = imageOf('a', 'b')
      const wrong = {
        ...image,
        config: { ...image.config, diffIds: ['c', 'a'].map((text) => digestOf(text)) },
      }
      await rejectsWith('failed_precondition', unpackImage(ctx, place, wrong))
      const short = {
        ...image,
        config: { ...image.config, diffIds: ['a'].map((text) => digestOf(text)) },
      }
      await rejectsWith('failed_precondition', unpackImage(ctx, place, short))
      assert.deepEqual(await Array.fromAsync(sn.list(ctx)), [])
    })
  })
})
