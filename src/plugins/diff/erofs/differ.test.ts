import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { zstdCompressSync } from 'node:zlib'

import type { Store } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { ErofsSnapshotter } from '#plugins/snapshots/erofs/erofs.ts'
import { missingForErofs } from '#plugins/snapshots/erofs/probe.ts'
import { mounted, read } from '#testing/layers.ts'
import { withMetadata } from '#testing/metadata.ts'
import { rejectsWith } from '#testing/rejects.ts'

import { ErofsDiffer } from './differ.ts'

const mediaType = 'application/vnd.erofs.layer.v1'
const skip = (process.getuid?.() !== 0 && 'needs root') || (missingForErofs() ?? false)

async function ingest(ctx: Context, store: Store, bytes: Uint8Array, type: string) {
  const digest = digestOf(bytes)
  await using writer = await store.writer(ctx, { ref: digest })
  await writer.write(ctx, bytes)
  await writer.commit(ctx, { expected: digest })
  return { mediaType: type, digest, size: bytes.length }
}

function imageOf(dir: string): Uint8Array {
  const source = join(dir, 'source')
  mkdirSync(source)
  writeFileSync(join(source, 'file'), 'text')
  execFileSync('mkfs.erofs', ['--quiet', join(dir, 'image'), source])
  return readFileSync(join(dir, 'image'))
}

void suite('the erofs differ', { skip }, () => {
  for (const writableBytes of [0, 8 << 20]) {
    const where = writableBytes === 0 ? 'a directory' : 'a file'
    void test(`puts images into snapshots that write to ${where}`, async (t) => {
      await withMetadata(t, async ({ ctx, metadata, root }) => {
        const options = {
          overlayOptions: [],
          immutable: false,
          writableBytes,
          verity: 'auto',
          remapIds: false,
        } as const
        await using sn = await ErofsSnapshotter.open(ctx, join(root, 'erofs'), options)
        const differ = new ErofsDiffer(metadata.content)
        const image = imageOf(root)
        const plain = await ingest(ctx, metadata.content, image, mediaType)
        const packed = zstdCompressSync(image)
        const zstd = await ingest(ctx, metadata.content, packed, `${mediaType}+zstd`)

        const first = await sn.prepare(ctx, 'a', '')
        assert.deepEqual(await differ.apply(ctx, plain, first), plain)
        await sn.commit(ctx, 'one', 'a')
        const second = await sn.prepare(ctx, 'b', 'one')
        assert.deepEqual(await differ.apply(ctx, zstd, second), plain)
        await sn.commit(ctx, 'two', 'b')
        for (const id of ['1', '2']) {
          const dir = join(root, 'erofs/snapshots', id)
          assert.deepEqual(readFileSync(join(dir, 'layer.erofs')), image)
          assert.deepEqual(
            readdirSync(dir).filter((name) => name.startsWith('layer')),
            ['layer.erofs'],
          )
        }
        await mounted(await sn.view(ctx, 'look', 'two'), (dir) =>
          assert.deepEqual(read(dir), { file: 'text' }),
        )
      })
    })
  }

  void test('leaves to others what is not its own', async (t) => {
    await withMetadata(t, async ({ ctx, metadata, root }) => {
      const differ = new ErofsDiffer(metadata.content)
      const layer = await ingest(ctx, metadata.content, Buffer.from('x'), mediaType)
      const bind = [{ type: 'bind', source: root, options: ['rw'] }]
      await rejectsWith('unimplemented', differ.apply(ctx, layer, bind), /erofs snapshotter only/)
      await rejectsWith('unimplemented', differ.apply(ctx, layer, []))
      for (const type of ['application/vnd.oci.image.layer.v1.tar+gzip', `${mediaType}+gzip`]) {
        await rejectsWith('unimplemented', differ.apply(ctx, { ...layer, mediaType: type }, bind))
      }
      await rejectsWith('unimplemented', differ.compare())
    })
  })
})
