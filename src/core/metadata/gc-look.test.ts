import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import type { Database } from '#lib/bolt/database.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { allFeatures, RandomMetadata } from '#testing/random-metadata.ts'
import { soak } from '#testing/soak.ts'

import { Marking } from './gc-mark.ts'
import { type Node, nodeAt, nodeId, recordPath } from './gc-node.ts'
import { find } from './schema.ts'
import { inSlices } from './slices.ts'
import { TracedBucket } from './traced-bucket.ts'

/** Marks the last state of `database` from nothing. */
async function marked(database: Database, now: Date): Promise<ReadonlySet<string>> {
  using state = database.pin()
  const marking = new Marking(now)
  await inSlices(marking.scan(state.root), 1000)
  return marking.marked
}

void suite('marking while others write', () => {
  void test('keeps what was in use and still is, and what is in use since', async () => {
    await soak('marking while others write', 40, async ({ below, count }) => {
      await using dir = await mkdtempDisposable(join(tmpdir(), 'look-'))
      await using database = await openDatabase(join(dir.path, 'meta.db'), { noSync: true })
      const records = new RandomMetadata(below, allFeatures)
      const write = async (times: number, written?: Map<string, Node>): Promise<void> => {
        await database.update((tx) => {
          const traced = new TracedBucket(tx, (path) => {
            const node = nodeAt(path)
            if (node) written?.set(nodeId(node), node)
          })
          for (let n = 0; n < times; n++) records.write(written ? traced : tx)
        })
      }
      await write(20 + below(100))
      const now = new Date()
      const marking = new Marking(now)
      const written = new Map<string, Node>()
      {
        using state = database.pin()
        const scan = inSlices(marking.scan(state.root), 10)
        await write(below(20), written)
        await scan
      }
      const garbage = await inSlices(marking.garbage(), 10)
      for (let slice = 0; slice < garbage.length; slice += 10) {
        await write(below(10), written)
        await database.update((tx) => {
          marking.look(tx, written.values())
          written.clear()
          for (const node of garbage.slice(slice, slice + 10)) {
            const path = recordPath(node) ?? []
            if (!marking.isMarked(node) && find(tx, path)) {
              find(tx, path.slice(0, -1))?.deleteBucket(path.at(-1) ?? '')
              count('removed')
            }
          }
        })
        // Nothing that it marks now may have been removed, unless it was never there.
        const missing = new Set(garbage.slice(0, slice + 10).map(nodeId))
        for (const id of await marked(database, now)) {
          if (!missing.has(id) || marking.marked.has(id)) continue
          assert.fail(`removed, and in use: ${id}`)
        }
      }
    })
  })
})
