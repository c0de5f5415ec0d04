import assert from 'node:assert/strict'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { openDatabase } from '#lib/bolt/open.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { withMetadata } from '#testing/metadata.ts'

import { imagesOf, leasesOf, make } from './schema.ts'

const images = 5000
const leases = 15_000
/** More than this many records in one turn would keep others waiting for too long. */
const mostInOneTurn = 150

const digest = digestOf('target')
const target = { mediaType: 'text/plain', digest, size: 6 }

/** Writes the records without their stores, as a daemon of before has left them. */
async function fill(root: string): Promise<void> {
  await using database = await openDatabase(join(root, 'meta.db'), { noSync: true })
  await database.update((tx) => {
    make(tx, ['v1']).put('version', Uint8Array.of(8))
    for (let i = 0; i < images; i++) {
      make(tx, [...imagesOf('default'), `image-${i}`, 'target']).put('digest', digest)
    }
    const expired = '2020-01-01T00:00:00Z'
    for (let i = 0; i < leases; i++) {
      const labels = make(tx, [...leasesOf('default'), `lease-${i}`, 'labels'])
      if (i % 10 === 0) labels.put('containerd.io/gc.expire', expired)
    }
  })
}

void suite('a collection of many records', () => {
  void test('others have their turns, and reads and writes go on', async (t) => {
    await withMetadata(
      t,
      async ({ ctx: given, metadata }) => {
        const ctx = { ...given, namespace: 'default' }
        let turns = 0
        const seen = { end: false }
        const collection = metadata.collect(ctx).finally(() => (seen.end = true))
        const writing = metadata.images.create(ctx, { name: 'new', labels: {}, target })
        const isWritten = writing.then(() => !seen.end)
        for (; !seen.end; turns++) {
          await metadata.images.get(ctx, `image-${turns % images}`)
          await new Promise((resolve) => setImmediate(resolve))
        }
        assert.deepEqual((await collection).removed, { lease: leases / 10 })
        assert.ok(turns > (images + leases) / mostInOneTurn, `${turns} turns`)
        assert.ok(await isWritten, 'a write had to wait')
        assert.equal((await metadata.images.get(ctx, 'new')).target.digest, digest)
        assert.equal((await metadata.leases.list(ctx)).length, leases - leases / 10)
      },
      async (_, root) => {
        await fill(root)
        return {}
      },
    )
  })
})
