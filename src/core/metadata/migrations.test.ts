import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import type { Bucket, Database } from '#lib/bolt/database.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { decodeVarint, encodeVarint } from '#lib/go/varint.ts'

import { readText } from './fields.ts'
import { isCurrent, migrate } from './migrations.ts'
import { find, keys, make } from './schema.ts'

async function withDatabase(
  fill: (tx: Bucket) => void,
  check: (database: Database) => void | Promise<void>,
): Promise<void> {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'migrations-'))
  await using database = await openDatabase(join(dir.path, 'meta.db'))
  await database.update(fill)
  await check(database)
}

const setVersion = (tx: Bucket, version: number): void =>
  make(tx, ['v1']).put('version', encodeVarint(version))

const versionOf = (database: Database): number =>
  database.view((tx) => {
    const bytes = tx.bucket('v1')?.get('version')
    assert.ok(bytes)
    return Number(decodeVarint(bytes))
  })

void suite('migrations', () => {
  void test('an empty database becomes one of version 4', async () => {
    await withDatabase(
      () => {},
      async (database) => {
        assert.ok(!database.view(isCurrent))
        await database.update(migrate)
        assert.ok(database.view(isCurrent))
        assert.equal(versionOf(database), 4)
      },
    )
  })

  void test('before version 1 parents did not know their children', async () => {
    await withDatabase(
      (tx) => {
        const snapshots = make(tx, ['v1', 'ns', 'snapshots', 'overlayfs'])
        make(snapshots, ['base'])
        make(snapshots, ['child']).put('parent', 'base')
        make(snapshots, ['orphan']).put('parent', 'lost')
      },
      async (database) => {
        await database.update(migrate)
        database.view((tx) => {
          const snapshots = find(tx, ['v1', 'ns', 'snapshots', 'overlayfs'])
          assert.ok(snapshots)
          assert.deepEqual([...keys(find(snapshots, ['base', 'children']))], ['child'])
          assert.deepEqual([...keys(find(snapshots, ['child', 'children']))], [])
        })
      },
    )
  })

  void test('before version 2 an upload was only a name', async () => {
    await withDatabase(
      (tx) => {
        setVersion(tx, 1)
        make(tx, ['v1', 'ns', 'content', 'ingest']).put('up', 'ns/1/up')
      },
      async (database) => {
        await database.update(migrate)
        database.view((tx) => {
          const up = find(tx, ['v1', 'ns', 'content', 'ingests', 'up'])
          assert.equal(up && readText(up, 'ref'), 'ns/1/up')
          assert.equal(find(tx, ['v1', 'ns', 'content', 'ingest']), undefined)
        })
      },
    )
  })

  void test('before version 4 sandboxes were at the root, and nothing else stays there', async () => {
    await withDatabase(
      (tx) => {
        setVersion(tx, 3)
        make(tx, ['v1', 'ns', 'images', 'i'])
        const sandbox = make(tx, ['ns', 'sandboxes', 's'])
        sandbox.put('sandboxer', 'shim')
        make(sandbox, ['labels']).put('a', '1')
        make(tx, ['rubbish', 'x'])
      },
      async (database) => {
        await database.update(migrate)
        database.view((tx) => {
          assert.deepEqual([...keys(tx)], ['v1'])
          const sandbox = find(tx, ['v1', 'ns', 'sandboxes', 's'])
          const labels = sandbox?.bucket('labels')
          assert.equal(sandbox && readText(sandbox, 'sandboxer'), 'shim')
          assert.equal(labels && readText(labels, 'a'), '1')
          assert.ok(find(tx, ['v1', 'ns', 'images', 'i']))
        })
      },
    )
  })

  void test('a newer database is left alone', async () => {
    await withDatabase(
      (tx) => {
        setVersion(tx, 9)
        make(tx, ['from the future'])
      },
      (database) => assert.ok(database.view(isCurrent)),
    )
  })
})
