import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

import { checkFile } from '#lib/bolt/check.ts'
import type { Bucket, Database, ReadBucket } from '#lib/bolt/database.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { hasCode } from '#lib/errors/errors.ts'
import { tryLock } from '#sys/flock.ts'
import { type Containerd, everyContainerd } from '#testing/containerd.ts'
import { run, startDaemon, type TestDaemon } from '#testing/daemon.ts'
import { damageAndRescue } from '#testing/damaged-database.ts'
import { MemoryFile } from '#testing/memory-file.ts'
import { root } from '#testing/root.ts'
import { soak, soakMs } from '#testing/soak.ts'

/** Enough buckets for a tree of several levels, and for lists of free pages. */
const many = 1500

const found = everyContainerd()

if (found.length === 0)
  test('Go reads what we write', { skip: 'containerd is not installed' }, () => {})

for (const containerd of found) {
  test(`containerd ${containerd.version} and we go on from each other's files`, async (t) => {
    if (!root(t)) return
    await using daemon = await startDaemon({ containerd })
    const ctr = ctrOf(containerd, daemon)
    const meta = join(daemon.root, 'io.containerd.metadata.v1.bolt/meta.db')
    const native = join(daemon.root, 'io.containerd.snapshotter.v1.native')
    const snapshots = join(native, 'metadata.db')

    await ctr('namespaces', 'create', 'theirs', 'color=blue')
    for (let i = 0; i < 20; i++) {
      await ctr('-n', 'theirs', 'leases', 'create', '--id', `lease-${i}`, `number=${i}`)
    }
    await ctr('-n', 'theirs', 'snapshots', '--snapshotter', 'native', 'prepare', 'first')
    await assert.rejects(openDatabase(meta, { lock: tryLock, lockTimeoutMs: 60 }), (err) =>
      hasCode(err, 'failed_precondition'),
    )
    await daemon.stop()

    await inDatabase(meta, checkTheirs)
    await inDatabase(snapshots, async (db) => {
      assert.equal(sequenceOf(db), 1n)
      await addSnapshots(db)
    })
    await inDatabase(meta, addNamespaces)

    await daemon.start()
    const listed = await ctr('namespaces', 'ls', '-q')
    const names = listed.trim().split('\n')
    assert.deepEqual(names.toSorted(), [...oddNamespaces(), 'theirs'].toSorted())
    assert.match(await ctr('namespaces', 'ls'), /ours-0001\s+color=red/)
    assert.match(await ctr('-n', 'theirs', 'leases', 'ls'), /lease-19 .*number=19/)
    await ctr('namespaces', 'remove', ...oddNamespaces().slice(0, 300))
    await ctr('-n', 'theirs', 'snapshots', '--snapshotter', 'native', 'prepare', 'second')
    assert.ok(existsSync(join(native, 'snapshots', String(many + 2))), readdirSync(native).join())
    await daemon.stop()

    await inDatabase(meta, (db) => {
      checkTheirs(db)
      assert.equal(db.view((tx) => namesIn(tx.bucket('v1'))).length, many / 2 - 300 + 1)
    })
    await inDatabase(snapshots, (db) => assert.equal(sequenceOf(db), BigInt(many + 2)))
  })
}

if (found.length > 0)
  test('what containerd wrote is rescued when it is damaged', {
    timeout: soakMs(120_000),
  }, async (t) => {
    if (!root(t)) return
    const images: Buffer[] = []
    for (const containerd of found) images.push(...(await databasesOf(containerd)))
    for (const image of images) {
      const { problems, pairs } = await checkFile(new MemoryFile(image))
      assert.deepEqual(problems, [])
      assert.ok(pairs > 60)
    }
    await soak('bolt-go', 20, async ({ below, count }) => {
      for (const image of images) await damageAndRescue(image, below, count)
    })
  })

/** The bytes of the databases of a containerd that was used a little: its metadata, and a snapshotter's. */
async function databasesOf(containerd: Containerd): Promise<Buffer[]> {
  await using daemon = await startDaemon({ containerd })
  const ctr = ctrOf(containerd, daemon)
  for (let i = 0; i < 20; i++) {
    await ctr('namespaces', 'create', `ns-${i}`, `label=${'x'.repeat(i * 200)}`)
    await ctr('-n', `ns-${i}`, 'snapshots', '--snapshotter', 'native', 'prepare', `key-${i}`)
  }
  await daemon.stop()
  return ['metadata.v1.bolt/meta.db', 'snapshotter.v1.native/metadata.db'].map((name) =>
    readFileSync(join(daemon.root, `io.containerd.${name}`)),
  )
}

const ctrOf =
  ({ ctr }: Containerd, { address }: TestDaemon) =>
  async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await run(ctr, ['-a', address, ...args])
    assert.equal(code, 0, `ctr ${args.join(' ')}: ${stderr}`)
    return stdout
  }

async function inDatabase(path: string, fn: (db: Database) => void | Promise<void>): Promise<void> {
  assert.deepEqual((await checkFile(new MemoryFile(readFileSync(path)))).problems, [])
  await using db = await openDatabase(path, { lock: tryLock, lockTimeoutMs: 5000 })
  await fn(db)
}

function checkTheirs(db: Database): void {
  db.view((tx) => {
    const theirs = tx.bucket('v1')?.bucket('theirs')
    assert.equal(String(theirs?.bucket('labels')?.get('color')), 'blue')
    const lease = theirs?.bucket('leases')?.bucket('lease-7')
    assert.equal(lease?.get('createdat')?.length, 15)
    assert.equal(String(lease?.bucket('labels')?.get('number')), '7')
    assert.equal(theirs?.bucket('leases')?.bucket('lease-20'), undefined)
    const snapshot = theirs?.bucket('snapshots')?.bucket('native')?.bucket('first')
    assert.match(String(snapshot?.get('name')), /^theirs\/\d+\/first$/)
  })
}

const nameOf = (i: number): string => `ours-${String(i).padStart(4, '0')}`

const oddNamespaces = (): string[] => Array.from({ length: many / 2 }, (_, i) => nameOf(2 * i + 1))

/** Adds namespaces in a few commits, then takes every other one away, so that pages are joined. */
async function addNamespaces(db: Database): Promise<void> {
  const add = (tx: Bucket, i: number) =>
    tx
      .bucket('v1')
      ?.createBucket(nameOf(i))
      .createBucket('labels')
      .put('color', i % 100 === 0 ? 'green'.repeat(4000) : 'red')
  for (let i = 0; i < many; i += 100) {
    await Promise.all(Array.from({ length: 100 }, (_, k) => db.update((tx) => add(tx, i + k))))
  }
  await db.update((tx) => {
    for (let i = 0; i < many; i += 2) tx.bucket('v1')?.deleteBucket(nameOf(i))
  })
}

const sequenceOf = (db: Database) => db.view((tx) => tx.bucket('v1')?.bucket('snapshots')?.sequence)

/** Adds snapshots nobody refers to: containerd's collector may take them away. */
async function addSnapshots(db: Database): Promise<void> {
  await db.update((tx) => {
    const bucket = tx.bucket('v1')?.bucket('snapshots')
    const model = bucket?.bucket(namesIn(bucket)[0] ?? '')
    assert.ok(bucket && model)
    for (let i = 0; i < many; i++) {
      const snapshot = bucket.createBucket(`ours/${i}/key`)
      for (const { key, value } of model.entries()) if (value) snapshot.put(key, value)
      snapshot.put('id', uvarint(bucket.nextSequence()))
    }
  })
}

const namesIn = (bucket: ReadBucket | undefined): string[] =>
  [...(bucket?.entries() ?? [])]
    .filter(({ value }) => value === undefined)
    .map(({ key }) => Buffer.from(key).toString())

function uvarint(value: bigint): Uint8Array {
  const bytes: number[] = []
  let rest = value
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128)
  bytes.push(Number(rest))
  return Uint8Array.from(bytes)
}
