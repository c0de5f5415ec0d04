import assert from 'node:assert/strict'
import { type TestContext, suite, test } from 'node:test'
import { gzipSync } from 'node:zlib'

import type { Context } from '#core/context.ts'
import { hostPlatform } from '#core/platforms/platforms.ts'
import { encodeHeader } from '#lib/tar/writer.ts'
import { type TestMetadata, withMetadata } from '#testing/metadata.ts'
import { Layout, tarOf, type TestDescriptor } from '#testing/oci-layout.ts'
import { overridingStore } from '#testing/overriding.ts'
import { rejectsWith } from '#testing/rejects.ts'

import { exportImages } from './export.ts'
import { importImages } from './import.ts'
import type { TransferStores } from './stores.ts'
import { tagImage } from './tag.ts'
import type { ImageTarget } from './transfer.ts'

/*
 * What an archive from anywhere may do: be refused with a reason, and leave no name and no lease.
 */

interface Given extends TestMetadata {
  readonly ctx: Context
  readonly stores: TransferStores
}

async function withStores(t: TestContext, body: (given: Given) => Promise<void>): Promise<void> {
  await withMetadata(t, async (given) => {
    const { content, images, leases } = given.metadata
    await body({ ...given, stores: { content, images, leases, unpackPlace: () => undefined } })
    assert.deepEqual(await leases.list(given.ctx), [])
  })
}

const prefix = { isPrefix: true, allowOverwrite: true, addDigest: false, skipNamedDigest: false }
const into: ImageTarget = {
  name: '',
  platforms: [hostPlatform],
  extraReferences: [{ name: 'example.com/import', ...prefix }],
}

async function* chunked(bytes: Uint8Array, size = 777): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) {
    yield await Promise.resolve(bytes.subarray(at, at + size))
  }
}

const load = async ({ ctx, stores }: Given, bytes: Uint8Array, target = into) =>
  await importImages(ctx, stores, { bytes: chunked(bytes) }, target)

const tagged = (descriptor: TestDescriptor, tag: string): TestDescriptor => ({
  ...descriptor,
  annotations: { 'org.opencontainers.image.ref.name': tag },
})

const names = async ({ ctx, stores }: Given): Promise<string[]> =>
  (await stores.images.list(ctx)).map(({ name }) => name)

/** A layout of one image, and what is in it. */
function simple(): { readonly layout: Layout; readonly archive: Buffer } {
  const layout = new Layout()
  const archive = layout.tar([tagged(layout.image('text', hostPlatform), '1')])
  return { layout, archive }
}

void suite('archives from anywhere', () => {
  void test('one that is whole comes in and goes out as it is', async (t) => {
    await withStores(t, async (given) => {
      const { ctx, stores } = given
      const [image] = await load(given, simple().archive)
      assert.equal(image?.name, 'example.com/import:1')
      const out = async (): Promise<Buffer> =>
        Buffer.concat(await Array.fromAsync(exportImages(ctx, stores, [{ name: image.name }])))
      const first = await out()
      await stores.images.delete(ctx, image.name)
      const [again] = await load(given, gzipSync(first))
      assert.deepEqual([again?.name, again?.target.digest], [image.name, image.target.digest])
      assert.ok((await out()).equals(first))
    })
  })

  void test('what is there is not written again', async (t) => {
    await withStores(t, async (given) => {
      const { archive } = simple()
      await load(given, archive)
      const { content } = given.stores
      const frozen = overridingStore(content, {
        async writer(ctx, options) {
          assert.notEqual(options.expected ?? '', '', options.ref)
          const opened = await content.writer(ctx, options)
          await opened[Symbol.asyncDispose]()
          throw new Error(`${options.ref} would be written`)
        },
      })
      await load({ ...given, stores: { ...given.stores, content: frozen } }, archive)
    })
  })

  void test('layers are tied to their manifest unless they are to go', async (t) => {
    await withStores(t, async (given) => {
      const { ctx, stores } = given
      for (const discardLayers of [true, false]) {
        const [image] = await load(given, simple().archive, { ...into, discardLayers })
        const { labels } = await stores.content.info(ctx, image?.target.digest ?? '')
        const kinds = Object.keys(labels).map((key) =>
          key.replace('containerd.io/gc.ref.content.', ''),
        )
        assert.deepEqual(kinds.toSorted(), discardLayers ? ['config'] : ['config', 'l.0'])
      }
    })
  })

  void test('a blob that is not what its name says is refused, and the right one taken next', async (t) => {
    await withStores(t, async (given) => {
      const { layout, archive } = simple()
      const wrong = layout.files.map(([name, bytes]): [string, Uint8Array] =>
        name.startsWith('blobs/') ? [name, Buffer.from(bytes).fill(7)] : [name, bytes],
      )
      const why = /^blobs\/sha256\/\w+ is not what its name says/
      await rejectsWith('invalid_argument', load(given, tarOf(wrong)), why)
      assert.deepEqual(await names(given), [])
      await load(given, archive)
      assert.deepEqual(await names(given), ['example.com/import:1'])
    })
  })

  void test('one that lacks a part of the image says which', async (t) => {
    await withStores(t, async (given) => {
      const { layout } = simple()
      const manifest = layout.files.at(-1)?.[0] ?? ''
      for (const [i, [missing]] of layout.files.slice(1).entries()) {
        // What the others have brought is not there.
        const alone = { ...given, ctx: { ...given.ctx, namespace: `alone${i}` } }
        const lacking = new Layout()
        lacking.files.splice(0, 1, ...layout.files.filter(([name]) => name !== missing))
        const image = new Layout().image('text', hostPlatform)
        const digest = missing.replace('blobs/sha256/', 'sha256:')
        const why = new RegExp(missing === manifest ? digest : `all of the image: ${digest}`)
        await rejectsWith('not_found', load(alone, lacking.tar([tagged(image, '1')])), why)
        assert.deepEqual(await names(alone), [])
      }
    })
  })

  void test('one that is cut off, or no archive, is refused', async (t) => {
    await withStores(t, async (given) => {
      const { archive } = simple()
      for (const bytes of [archive.subarray(0, 2000), gzipSync(archive).subarray(0, 300)]) {
        await assert.rejects(load(given, bytes), /unexpected E?e?n?d?(OF| of file)/)
      }
      await assert.rejects(load(given, Buffer.alloc(2000, 'x')), /invalid tar header|checksum/)
      for (const bytes of [Buffer.alloc(0), tarOf([['readme', Buffer.from('x')]])]) {
        await rejectsWith('invalid_argument', load(given, bytes), /^unrecognized image format/)
      }
      assert.deepEqual(await names(given), [])
    })
  })

  void test('documents that are too large are refused before they come', async (t) => {
    await withStores(t, async (given) => {
      for (const name of ['index.json', 'manifest.json', 'oci-layout']) {
        const header = encodeHeader({ type: 'file', name, mode: 0o644, size: 1 << 30 })
        await rejectsWith('resource_exhausted', load(given, Buffer.from(header)))
      }
      const layout = new Layout()
      const manifest = layout.json('manifest.v1+json', { padding: 'x'.repeat(17 << 20) })
      const archive = layout.tar([tagged(manifest, '1')])
      const from = { bytes: chunked(archive, 1 << 20) }
      const { ctx, stores } = given
      await rejectsWith('resource_exhausted', importImages(ctx, stores, from, into))
    })
  })

  void test('indexes in indexes end somewhere', async (t) => {
    await withStores(t, async (given) => {
      const nested = (depth: number): Buffer => {
        const layout = new Layout()
        let inner: TestDescriptor = layout.image('deep', hostPlatform)
        for (let i = 0; i < depth; i++) {
          inner = layout.json('index.v1+json', { schemaVersion: 2, manifests: [inner] })
        }
        return layout.tar([tagged(inner, '1')])
      }
      await load(given, nested(4))
      await rejectsWith('invalid_argument', load(given, nested(20)), /nested deeper than 8/)
    })
  })

  void test('an index that is said to be a manifest, and what is for another machine, are refused', async (t) => {
    await withStores(t, async (given) => {
      const layout = new Layout()
      const index = layout.json('manifest.v1+json', { schemaVersion: 2, manifests: [] })
      const archive = layout.tar([tagged(index, '1')])
      await rejectsWith(
        'invalid_argument',
        load(given, archive),
        /expected manifest but found index/,
      )
      const other = new Layout()
      const foreign = other.image('x', { os: 'plan9', architecture: 'mips' })
      await rejectsWith('not_found', load(given, other.tar([tagged(foreign, '1')])), /plan9\/mips/)
      assert.deepEqual(await names(given), [])
    })
  })

  void test('of two with one name the last counts; odd paths are names and nothing else', async (t) => {
    await withStores(t, async (given) => {
      const layout = new Layout()
      const [a, b] = [layout.image('a', hostPlatform), layout.image('b', hostPlatform)]
      const first = layout.tar([tagged(a, 'no')])
      layout.files.push(['../../../etc/odd', Buffer.from('1')], ['/etc/odd', Buffer.from('2')])
      layout.files.push(['index.json', Buffer.from('not even JSON')])
      layout.files.push(['blobs/sha256/short', Buffer.from('3')])
      const archive = layout.tar([tagged(a, '1'), tagged(b, '1')])
      await load(given, Buffer.concat([archive, first]))
      const images = await given.stores.images.list(given.ctx)
      assert.deepEqual(
        images.map(({ name, target }) => [name, target.digest]),
        [['example.com/import:1', b.digest]],
      )
    })
  })

  void test('a Docker archive that names what is not there, or by no name, is refused', async (t) => {
    await withStores(t, async (given) => {
      const config = Buffer.from(JSON.stringify({ ...hostPlatform, rootfs: { diff_ids: [] } }))
      const dockerArchive = (item: object): Buffer =>
        tarOf([
          ['config.json', config],
          ['manifest.json', Buffer.from(JSON.stringify([item]))],
        ])
      const bad = [
        [{ Config: 'none.json', Layers: [] }, /image config "none.json" not found/],
        [{ Config: 'config.json', Layers: ['1/layer.tar'] }, /layer "1\/layer.tar" not found/],
        [{ Config: 'config.json', RepoTags: ['Upper'], Layers: [] }, /must be lowercase/],
      ] as const
      for (const [item, why] of bad) {
        await rejectsWith('invalid_argument', load(given, dockerArchive(item)), why)
      }
      const good = { Config: 'config.json', RepoTags: ['a', 'b:2'], Layers: [] }
      await load(given, dockerArchive(good))
      assert.deepEqual(await names(given), ['docker.io/library/a:latest', 'docker.io/library/b:2'])
    })
  })

  void test('one whose client gives up ends at once', async (t) => {
    await withStores(t, async (given) => {
      const stop = new AbortController()
      const ctx = { ...given.ctx, signal: stop.signal }
      const { archive } = simple()
      const slow = async function* (): AsyncGenerator<Uint8Array> {
        yield await Promise.resolve(archive.subarray(0, 1024))
        stop.abort(new Error('gone'))
        yield archive.subarray(1024)
      }
      await assert.rejects(importImages(ctx, given.stores, { bytes: slow() }, into), /gone/)
      assert.deepEqual(await names(given), [])
    })
  })
})

void suite('exports and tags', () => {
  void test('content that is damaged or missing does not go out as if it were whole', async (t) => {
    await withStores(t, async (given) => {
      const { ctx, stores } = given
      const { archive, layout } = simple()
      await load(given, archive)
      const all = [{ name: 'example.com/import:1', platforms: [hostPlatform] }]
      const [, config = '', layer = ''] = layout.files.map(([name]) =>
        name.replace('blobs/sha256/', 'sha256:'),
      )
      const damaged = overridingStore(stores.content, {
        async reader(own, digest) {
          const reader = await stores.content.reader(own, digest)
          if (digest !== layer) return reader
          return {
            size: reader.size,
            read: async (offset, length) =>
              (await reader.read(offset, length)).map((byte) => ~byte),
            [Symbol.asyncDispose]: async () => await reader[Symbol.asyncDispose](),
          }
        },
      })
      const out = async (content: TransferStores['content']): Promise<unknown> =>
        await Array.fromAsync(exportImages(ctx, { ...stores, content }, all))
      await rejectsWith('data_loss', out(damaged), new RegExp(`content ${layer} has digest`))
      await stores.content.delete(ctx, config)
      await rejectsWith('not_found', out(stores.content))
    })
  })

  void test('a tag is another name, and takes that of another image', async (t) => {
    await withStores(t, async (given) => {
      const { ctx, stores } = given
      await load(given, simple().archive)
      const layout = new Layout()
      const other = layout.tar([tagged(layout.image('other', hostPlatform), '2')])
      await load(given, other)
      const made = await tagImage(ctx, stores, 'example.com/import:1', {
        name: 'example.com/import:2',
      })
      const { target } = await stores.images.get(ctx, 'example.com/import:1')
      assert.deepEqual((await stores.images.get(ctx, made.name)).target, target)
      await rejectsWith('not_found', tagImage(ctx, stores, 'missing', { name: 'x' }))
    })
  })
})
