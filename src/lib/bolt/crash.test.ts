import assert from 'node:assert/strict'
import { test } from 'node:test'

import { afterKill, afterPowerCut, type FileStep, MemoryFile } from '#testing/memory-file.ts'
import { random } from '#testing/random.ts'
import { soak, soakMs } from '#testing/soak.ts'

import { checkFile } from './check.ts'
import type { Bucket, Database, ReadBucket } from './database.ts'
import { openFile } from './open.ts'

/** The state after a commit, as text. */
type State = string

const empty: State = '{}'

function stateOf(bucket: ReadBucket): State {
  const pairs: Record<string, unknown> = {}
  for (const { key, value } of bucket.entries()) {
    const name = Buffer.from(key).toString()
    const child = bucket.bucket(key)
    pairs[name] = value === undefined && child ? JSON.parse(stateOf(child)) : String(value)
  }
  return JSON.stringify(pairs)
}

/** A change that touches a few leaves: adds and deletes pairs, buckets, and now and then a lot. */
function change(tx: Bucket, n: number, rand: (below: number) => number): State {
  const top = tx.createBucketIfNotExists(`top-${rand(3)}`)
  const bucket = top.createBucketIfNotExists(`bucket-${rand(8)}`)
  bucket.put(`key-${rand(20)}`, `${n} `.repeat(rand(10) === 0 ? 4000 : rand(60)))
  bucket.delete(`key-${rand(20)}`)
  const name = `bucket-${rand(8)}`
  if (rand(6) === 0 && top.bucket(name) !== undefined) top.deleteBucket(name)
  top.put('last', String(n))
  return stateOf(tx)
}

/** What was acknowledged, or may be in the file without having been, at each step of the file. */
interface History {
  readonly steps: readonly FileStep[]
  readonly marks: readonly { readonly at: number; readonly acked: boolean; readonly state: State }[]
}

async function record(seed: number, faulty: boolean): Promise<History> {
  const rand = random(seed)
  const file = new MemoryFile()
  const marks: { at: number; acked: boolean; state: State }[] = []
  const db = await openFile(file, {})
  if (faulty) file.failure = (kind) => (rand(25) === 0 ? new Error(`broken ${kind}`) : undefined)
  let before: State = empty
  for (let n = 0; n < 40; n++) {
    let state = before
    const update = db.update((tx) => {
      state = change(tx, n, rand)
      marks.push({ at: file.steps.length, acked: false, state })
    })
    const acked = await update.then(
      () => true,
      () => false,
    )
    if (acked) {
      marks.push({ at: file.steps.length, acked: true, state })
      before = state
    }
    assert.equal(db.view(stateOf), before, 'what is read is what was acknowledged')
  }
  return { steps: file.steps, marks }
}

/** The states a file may be in when it was cut off after `cut` steps. */
function allowed({ marks }: History, cut: number): State[] {
  const seen = marks.filter(({ at }) => at <= cut)
  const last = seen.findLastIndex(({ acked }) => acked)
  return [seen[last]?.state ?? empty, ...seen.slice(last + 1).map(({ state }) => state)]
}

async function check(bytes: Buffer, states: readonly State[]): Promise<void> {
  await using db: Database = await openFile(new MemoryFile(bytes), {})
  const state = db.view(stateOf)
  assert.ok(states.includes(state), `unexpected ${state.slice(0, 200)}`)
  const { problems } = await checkFile(new MemoryFile(bytes))
  assert.deepEqual(
    problems.filter(({ kind }) => kind !== 'meta'),
    [],
  )
  await db.update((tx) => tx.createBucketIfNotExists('after'))
  await db.update((tx) => tx.deleteBucket('after'))
  assert.equal(db.view(stateOf), state)
}

test('a cut at any step leaves what was acknowledged', { timeout: soakMs(120_000) }, async () => {
  await soak('bolt-crash', 2, async ({ seed, count }) => {
    for (const faulty of [false, true]) count('cuts', await checkCuts(seed, faulty))
  })
})

/** Cuts one history off everywhere. @returns how often. */
async function checkCuts(seed: number, faulty: boolean): Promise<number> {
  const history = await record(seed, faulty)
  const rand = random(seed)
  for (let cut = 0; cut <= history.steps.length; cut++) {
    const steps = history.steps.slice(0, cut)
    const states = allowed(history, cut)
    await check(afterPowerCut(steps, rand), states)
    await check(afterKill(steps), states)
  }
  return history.steps.length * 2
}
