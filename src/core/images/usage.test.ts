import assert from 'node:assert/strict'
import { test } from 'node:test'

import { writeBlob } from '#core/content/write-blob.ts'
import { hostPlatform } from '#core/platforms/platforms.ts'
import { notFound } from '#lib/errors/errors.ts'
import { withMetadata } from '#testing/metadata.ts'
import { Layout } from '#testing/oci-layout.ts'

import { chainIds } from './chain-id.ts'
import { childrenOf } from './children.ts'
import { readBlob } from '#core/content/read-blob.ts'
import { parseConfig } from './oci.ts'
import { usageOf } from './usage.ts'

void test('an image is counted once, what is not there not at all', async (t) => {
  await withMetadata(t, async ({ ctx, metadata: { content } }) => {
    const layout = new Layout()
    const ours = layout.image('here', hostPlatform)
    const foreign = new Layout().image('elsewhere', { os: 'linux', architecture: 's390x' })
    const manifests = [ours, ours, foreign, foreign]
    const index = layout.json('index.v1+json', { schemaVersion: 2, manifests })
    const blobs = layout.files.filter(([name]) => name.startsWith('blobs/'))
    for (const [ref, bytes] of blobs) await writeBlob(ctx, content, [bytes], { ref })
    const [config] = await childrenOf(ctx, content, ours)
    const { diffIds } = parseConfig(await readBlob(ctx, content, config?.digest ?? '', 1 << 20))
    const snapshotter = (known: readonly string[]) => ({
      usage: async (_ctx: unknown, id: string) => {
        await Promise.resolve()
        if (!known.includes(id)) throw notFound(id)
        return { inodes: 1, size: 4096 }
      },
    })
    const contentBytes = blobs.reduce((sum, [, bytes]) => sum + bytes.length, 0)
    const expected = { contentBytes, snapshotBytes: 4096, snapshots: 1, missing: 1 }
    assert.deepEqual(await usageOf(ctx, content, index, snapshotter(chainIds(diffIds))), expected)
    // A config that is missing is one thing that is missing, and tells of no snapshots.
    await content.delete(ctx, config?.digest ?? '')
    assert.deepEqual(await usageOf(ctx, content, index, snapshotter([])), {
      contentBytes: contentBytes - (config?.size ?? 0),
      snapshotBytes: 0,
      snapshots: 0,
      missing: 2,
    })
  })
})
