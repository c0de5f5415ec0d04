import assert from 'node:assert/strict'
import { mkdir, mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'

import { make, schemaVersion } from '#core/metadata/schema.ts'
import { writeLabels } from '#core/metadata/fields.ts'
import type { Bucket } from '#lib/bolt/database.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { encodeVarint } from '#lib/go/varint.ts'
import { type Containerd, everyContainerd } from '#testing/containerd.ts'
import { newContext } from '#testing/context.ts'
import { testMetadata } from '#testing/metadata.ts'
import { random } from '#testing/random.ts'
import { type RandomFeatures, RandomMetadata, recordsIn } from '#testing/random-metadata.ts'
import { root } from '#testing/root.ts'
import { soak } from '#testing/soak.ts'
import { startGo, until } from '#testing/start-go.ts'

/*
 * The same random records, collected by containerd and by us: what is left must be the same.
 * containerd 1.6 knows no sandboxes and lets no image expire, one before 2.2 knows no back references and no conditions.
 */

const writes = 300
/** An expired lease: when it is gone, containerd has collected. */
const sentinel = 'sentinel'
const sentinelNamespace = 'sentinel'

const featuresOf = (go: Containerd): RandomFeatures => ({
  images: go.major >= 2,
  sandboxes: go.major >= 2,
  newest: false,
})

function fill(tx: Bucket, seed: number, features: RandomFeatures): void {
  make(tx, [schemaVersion]).put('version', encodeVarint(4))
  const records = new RandomMetadata(random(seed), features)
  for (let n = 0; n < writes; n++) records.write(tx)
  const lease = make(tx, [schemaVersion, sentinelNamespace, 'leases', sentinel])
  writeLabels(lease, { 'containerd.io/gc.expire': '2020-01-01T00:00:00Z' })
}

/** Writes the records of `seed` to a new database. */
async function write(path: string, seed: number, features: RandomFeatures): Promise<void> {
  await using database = await openDatabase(path, { noSync: true })
  await database.update((tx) => fill(tx, seed, features))
}

async function leftIn(path: string): Promise<readonly string[]> {
  await using database = await openDatabase(path, { readOnly: true })
  return database.view(recordsIn)
}

async function collectTheirs(t: TestContext, go: Containerd, dir: string): Promise<void> {
  await using theirs = await startGo(t, go, dir)
  const leases = async (): Promise<string> =>
    await theirs.ctr(['-n', sentinelNamespace, 'leases', 'ls', '-q'])
  await until(t, async () => !(await leases()).includes(sentinel))
}

for (const go of everyContainerd()) {
  suite(`the collector of containerd ${go.version}`, () => {
    test('leaves of random records what ours leaves', async (t) => {
      if (!root(t)) return
      await soak(`collections beside ${go.version}`, 3, async ({ seed, count }) => {
        await using dir = await mkdtempDisposable(join(tmpdir(), 'gc-go-'))
        const theirs = join(dir.path, 'root', 'io.containerd.metadata.v1.bolt')
        await mkdir(theirs, { recursive: true })
        await write(join(theirs, 'meta.db'), seed, featuresOf(go))
        await collectTheirs(t, go, dir.path)
        const ours = join(dir.path, 'meta.db')
        await write(ours, seed, featuresOf(go))
        const before = await leftIn(ours)
        {
          const ctx = newContext(t)
          await using opened = await testMetadata(ctx, dir.path)
          await opened.metadata.collect(ctx)
        }
        const left = await leftIn(ours)
        const leftByThem = await leftIn(join(theirs, 'meta.db'))
        const onlyOurs = left.filter((record) => !leftByThem.includes(record))
        const onlyTheirs = leftByThem.filter((record) => !left.includes(record))
        assert.deepEqual({ onlyOurs, onlyTheirs }, { onlyOurs: [], onlyTheirs: [] })
        count('kept', left.length)
        count('collected', before.length - left.length)
        assert.ok(left.length > 0 && left.length < before.length)
      })
    })
  })
}
