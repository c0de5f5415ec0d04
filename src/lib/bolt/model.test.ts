import assert from 'node:assert/strict'
import { mkdtempDisposableSync, openSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { MemoryFile } from '#testing/memory-file.ts'
import type { random } from '#testing/random.ts'
import { soak, soakMs } from '#testing/soak.ts'

import { checkFile } from './check.ts'
import { create } from './create.ts'
import type { Bucket, Database, ReadBucket } from './database.ts'
import { FdFile } from './file.ts'
import { openDatabase } from './open.ts'

/** A bucket as plain data. */
interface Model {
  sequence: bigint
  readonly pairs: Map<string, string | Model>
}

const emptyModel = (): Model => ({ sequence: 0n, pairs: new Map() })

type Random = ReturnType<typeof random>

function randomKey(rand: Random): string {
  const length = rand(20) === 0 ? 1 + rand(2000) : 1 + rand(24)
  return `${rand(400)}`.padEnd(length, 'k')
}

function randomValue(rand: Random): string {
  const size = rand(30) === 0 ? rand(20_000) : rand(120)
  return `${rand(1000)}`.repeat(size).slice(0, size)
}

/** Does one random thing to both, at a random depth. */
function step(rand: Random, bucket: Bucket, model: Model, depth: number): void {
  const nested = [...model.pairs].filter(([, value]) => typeof value !== 'string')
  const pick = nested[rand(Math.max(1, nested.length))]
  if (pick !== undefined && typeof pick[1] !== 'string' && rand(3) > 0) {
    const child = bucket.bucket(pick[0])
    assert.ok(child)
    step(rand, child, pick[1], depth + 1)
    return
  }
  const dice = rand(100)
  const key = randomKey(rand)
  const old = model.pairs.get(key)
  if (dice < 12 && depth < 4) {
    if (typeof old === 'string') return
    bucket.createBucketIfNotExists(key)
    if (old === undefined) model.pairs.set(key, emptyModel())
  } else if (dice < 15 && pick !== undefined) {
    bucket.deleteBucket(pick[0])
    model.pairs.delete(pick[0])
  } else if (dice < 18) {
    model.sequence = BigInt.asUintN(64, model.sequence + 1n)
    assert.equal(bucket.nextSequence(), model.sequence)
  } else if (dice < 20) {
    model.sequence = BigInt(rand(2 ** 31)) << BigInt(rand(34))
    bucket.setSequence(model.sequence)
  } else if (dice < 28) {
    checkReads(rand, bucket, model)
  } else if (depth === 0 || (old !== undefined && typeof old !== 'string')) {
    assert.equal(bucket.get(key), undefined)
  } else if (dice < 70) {
    const value = randomValue(rand)
    bucket.put(key, value)
    model.pairs.set(key, value)
  } else deleteSome(rand, bucket, model)
}

/** Looks a key up, and reads a few pairs from a key on that may not be there. */
function checkReads(rand: Random, bucket: ReadBucket, model: Model): void {
  const key = randomKey(rand)
  const value = model.pairs.get(key)
  const found = bucket.get(key)
  assert.equal(
    found && Buffer.from(found).toString(),
    typeof value === 'string' ? value : undefined,
  )
  assert.equal(bucket.bucket(key) !== undefined, typeof value === 'object')
  assert.equal(bucket.sequence, model.sequence)
  const read = bucket.entries(key)[Symbol.iterator]()
  const after = [...model.pairs.keys()].toSorted().filter((name) => name >= key)
  for (const name of after.slice(0, 20)) {
    const { value: entry } = read.next()
    assert.equal(entry && Buffer.from(entry.key).toString(), name)
    assert.equal(entry?.value === undefined, typeof model.pairs.get(name) !== 'string')
  }
  if (after.length <= 20) assert.equal(read.next().done, true)
  const buckets = [...model.pairs.keys()].filter(
    (name) => typeof model.pairs.get(name) !== 'string',
  )
  const names = Array.from(bucket.buckets(), ([name]) => Buffer.from(name).toString())
  assert.deepEqual(names, buckets.toSorted())
}

/** Deletes up to many pairs in a row, which makes pages small and empty. */
function deleteSome(rand: Random, bucket: Bucket, model: Model): void {
  const values = [...model.pairs].filter(([, value]) => typeof value === 'string')
  const start = rand(Math.max(1, values.length))
  for (const [key] of values.slice(start, start + rand(rand(10) === 0 ? 200 : 4))) {
    bucket.delete(key)
    model.pairs.delete(key)
  }
}

function snapshot(bucket: ReadBucket): Model {
  const model: Model = { sequence: bucket.sequence, pairs: new Map() }
  for (const { key, value } of bucket.entries()) {
    const name = Buffer.from(key).toString()
    if (value !== undefined) model.pairs.set(name, Buffer.from(value).toString())
    else {
      const child = bucket.bucket(key)
      assert.ok(child)
      model.pairs.set(name, snapshot(child))
    }
  }
  return model
}

const sorted = (model: Model): Model => ({
  sequence: model.sequence,
  pairs: new Map(
    [...model.pairs]
      .toSorted(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      .map(([key, value]) => [key, typeof value === 'string' ? value : sorted(value)]),
  ),
})

/** A pinned state, and what it has to say for as long as it is held. */
interface Held extends Disposable {
  readonly root: ReadBucket
  readonly model: Model
}

function holdState(db: Database, model: Model): Held {
  const state = db.pin()
  return { root: state.root, model: sorted(model), [Symbol.dispose]: () => state[Symbol.dispose]() }
}

test('a random history leaves what a plain map holds', { timeout: soakMs(120_000) }, async () => {
  await soak('bolt-model', 4, async ({ below: rand, count }) => {
    using dir = mkdtempDisposableSync(join(tmpdir(), 'bolt-'))
    const path = join(dir.path, 'db')
    await createWith(path, 1024 << rand(7))
    let model = emptyModel()
    for (let round = 0; round < 5; round++) {
      await using db = await openDatabase(path, { noSync: true, cacheBytes: 64 * 1024 })
      assert.deepEqual(db.view(snapshot), sorted(model))
      let held: Held | undefined
      for (let commit = 0; commit < 20; commit++) {
        if (rand(8) === 0) held ??= holdState(db, model)
        model = await commitSome(rand, db, model)
        count('commits')
        if (held === undefined || rand(4) > 0) continue
        assert.deepEqual(snapshot(held.root), held.model)
        held[Symbol.dispose]()
        held = undefined
      }
      assert.deepEqual(db.view(snapshot), sorted(model))
      const { problems } = await checkFile(new MemoryFile(readFileSync(path)))
      assert.deepEqual(problems, [])
    }
  })
})

/** Some updates at once, a few of which fail. What is stored then. */
async function commitSome(rand: Random, db: Database, before: Model): Promise<Model> {
  let model = before
  const updates: Promise<unknown>[] = []
  for (let n = rand(4); n >= 0; n--) {
    const fails = rand(5) === 0
    const update = db.update((tx) => {
      const next = structuredClone(model)
      for (let i = rand(60); i >= 0; i--) step(rand, tx, next, 0)
      if (fails) throw new Error('left out')
      model = next
    })
    updates.push(fails ? assert.rejects(update, /left out/) : update)
  }
  await Promise.all(updates)
  return model
}

/** Makes a file as a machine with such pages does. */
async function createWith(path: string, pageSize: number): Promise<void> {
  const file = new FdFile(openSync(path, 'w+'), path)
  await create(file, false, pageSize)
  file.close()
}
