import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { digestOf } from '#lib/digest/digest.ts'
import { afterKill, afterPowerCut, type FileStep, MemoryFile } from '#testing/memory-file.ts'
import { random } from '#testing/random.ts'
import { soak, soakMs } from '#testing/soak.ts'

import { checkFile } from './check.ts'
import type { Bucket, Database, ReadBucket } from './database.ts'
import { metaSize } from './meta.ts'
import { openFile } from './open.ts'

/** The state after a commit, as text. */
type State = string

const empty: State = '{}'

function stateOf(bucket: ReadBucket): State {
  const pairs: Record<string, unknown> = {}
  for (const { key, value } of bucket.entries()) {
    const name = Buffer.from(key).toString()
    const child = bucket.bucket(key)
    pairs[name] = value === undefined && child ? JSON.parse(stateOf(child)) : textOf(value)
  }
  return JSON.stringify(pairs)
}

const textOf = (value: Uint8Array | undefined): string =>
  value !== undefined && value.length > 1 << 16 ? digestOf(value) : String(value)

/** A change that touches a few leaves: adds and deletes pairs, buckets, and now and then a lot. */
function change(tx: Bucket, n: number, rand: (below: number) => number): State {
  const top = tx.createBucketIfNotExists(`top-${rand(3)}`)
  const bucket = top.createBucketIfNotExists(`bucket-${rand(8)}`)
  bucket.put(`key-${rand(20)}`, `${n} `.repeat(rand(10) === 0 ? 4000 : rand(60)))
  bucket.delete(`key-${rand(20)}`)
  const name = `bucket-${rand(8)}`
  if (rand(6) === 0 && top.bucket(name) !== undefined) top.deleteBucket(name)
  // More than a record is made for: a sync for its pages, and one for its meta.
  if (n % 20 === 10) top.put('large', Buffer.alloc(1 << 20, n))
  else top.delete('large')
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
    // Long enough for the last commit to become complete.
    if (rand(10) === 0) await sleep(10)
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

/** The states a file may be in when it was cut off after `cut` steps; of those acknowledged, the last `late`. */
function allowed({ marks }: History, cut: number, late = 1): State[] {
  const seen = marks.filter(({ at }) => at <= cut)
  const acked = seen.flatMap((mark, index) => (mark.acked ? [{ ...mark, index }] : []))
  const since = acked.slice(-late)
  const later = seen.slice((acked.at(-1)?.index ?? -1) + 1)
  const states = [...since, ...later].map(({ state }) => state)
  return acked.length < late ? [empty, ...states] : states
}

/** Fails unless `bytes` are a sound file in one of `states`, that can be written to. */
async function check(bytes: Buffer, states: readonly State[]): Promise<void> {
  const { problems } = await checkFile(new MemoryFile(bytes))
  assert.deepEqual(
    problems.filter(({ kind }) => kind !== 'meta'),
    [],
  )
  await using db: Database = await openFile(new MemoryFile(Buffer.from(bytes)), {})
  const state = db.view(stateOf)
  assert.ok(states.includes(state), `unexpected ${state.slice(0, 200)}`)
  await db.update((tx) => tx.createBucketIfNotExists('after'))
  await db.update((tx) => tx.deleteBucket('after'))
  assert.equal(db.view(stateOf), state)
}

/** The file as it is for those who know nothing of records. */
function withoutRecords(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes)
  for (const page of [0, 4096]) copy.fill(0, page + metaSize, page + 4096)
  return copy
}

/** Goes on after a kill with one more commit or two, until the power is cut. */
async function checkNext(
  steps: readonly FileStep[],
  states: readonly State[],
  rand: (below: number) => number,
): Promise<void> {
  const file = new MemoryFile(afterKill(steps))
  const db = await openFile(file, {})
  const later: { at: number; states: State[] }[] = [{ at: 0, states: [...states] }]
  for (let n = rand(3); n >= 0; n--) {
    const before = db.view(stateOf)
    const state = await db.update((tx) => change(tx, 1000 + n, rand))
    later.push({ at: file.steps.length, states: [state] })
    for (const each of later.slice(0, -1)) each.states.push(before, state)
  }
  if (rand(2) === 0) await db[Symbol.asyncDispose]()
  const cut = rand(file.steps.length + 1)
  const seen = later.findLast(({ at }) => at <= cut)
  assert.ok(seen)
  await check(afterPowerCut([...steps, ...file.steps.slice(0, cut)], rand), seen.states)
}

test('a cut at any step leaves what was acknowledged', { timeout: soakMs(120_000) }, async () => {
  await soak('bolt-crash', 2, async ({ seed, count }) => {
    for (const faulty of [false, true]) count('cuts', await checkCuts(seed, faulty))
  })
})

/**
 * Cuts one history off everywhere. Others than wharf find what was acknowledged after a kill, too; after a power
 * cut they may find the state before the last one. @returns how often.
 */
async function checkCuts(seed: number, faulty: boolean): Promise<number> {
  const history = await record(seed, faulty)
  const rand = random(seed)
  for (let cut = 0; cut <= history.steps.length; cut++) {
    const steps = history.steps.slice(0, cut)
    const states = allowed(history, cut)
    const dark = afterPowerCut(steps, rand)
    await check(dark, states)
    if (dark.length > 2 * 4096) await check(withoutRecords(dark), allowed(history, cut, 2))
    const killed = afterKill(steps)
    await check(killed, states)
    if (killed.length > 2 * 4096) await check(withoutRecords(killed), states)
    await checkNext(steps, states, rand)
  }
  return history.steps.length * 3
}
