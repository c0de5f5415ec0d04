import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import type { Finding, StoreReport } from '#doctor/finding.ts'
import { isLeft } from '#doctor/finding.ts'
import { findPlaces } from '#doctor/places.ts'
import { examineStore } from '#doctor/store.ts'
import { containerd1 } from '#testing/containerd.ts'
import { root } from '#testing/root.ts'
import { type Cycle, soak, soakMs } from '#testing/soak.ts'

import { damages, type Expectation, Targets } from './doctor-damage.ts'
import { DoctorStore, stored, unpacked } from './doctor-store.ts'

/** How many things are damaged at once. */
const atOnce = 60
const doctorMs = 120_000

void suite('the doctor', () => {
  const skip = containerd1() ? false : 'needs ctr'
  void test('finds all damage, and repairs it beside a container that runs', {
    skip,
    timeout: soakMs(180_000),
  }, async (t) => {
    if (!root(t)) return
    await using store = await DoctorStore.open()
    const pid = await store.pid()
    assert.notEqual(pid, 'none')
    await stopCollected(store)
    assertSound(await examine(store, false))
    await soak('doctor', 1, async (cycle) => {
      const expected = await damage(store, cycle)
      const found = await examine(store, false)
      assertFound(found, expected)
      assertNothingElse(found, expected)
      const repaired = await examine(store, true)
      assertFound(repaired, expected)
      await heal(store, expected)
      assert.equal(await store.pid(), pid)
      assert.equal(
        await store.succeed('task', 'exec', '--exec-id', 'x', 'running', 'cat', '/data'),
        'still here\n',
      )
      const ran = await store.succeed(
        'run',
        '--rm',
        unpacked,
        `after-${cycle.number}`,
        'cat',
        '/data/3/0/file-10',
      )
      assert.equal(ran, '3/10 '.repeat(101))
      await stopCollected(store)
      assertSound(await examine(store, false))
    })
  })
})

/** Stops the daemon when nothing is left to collect: what it was about to remove would stay until it starts again. */
async function stopCollected(store: DoctorStore): Promise<void> {
  await store.succeed('leases', 'create', '--id', 'last')
  await store.succeed('leases', 'delete', '--sync', 'last')
  await store.daemon.stop()
}

async function examine(store: DoctorStore, repair: boolean): Promise<StoreReport> {
  return await examineStore(findPlaces(store.daemon), {
    signal: AbortSignal.timeout(doctorMs),
    repair,
    dropBrokenImages: false,
    quick: false,
  })
}

/** Does damage of every kind, as long as there is something left to damage. */
async function damage(store: DoctorStore, cycle: Cycle): Promise<readonly Expectation[]> {
  const targets = await Targets.of(store, cycle.below)
  const expected: Expectation[] = []
  for (let i = 0; i < atOnce; i++) {
    // Each kind once, and then whatever comes.
    const at = i < damages.length ? damages.length - 1 - i : cycle.below(damages.length)
    const done = await damages[at]?.(targets)
    if (!done) continue
    expected.push(done)
    cycle.count(done.damage)
  }
  cycle.count('damages', expected.length)
  return expected
}

function assertFound({ findings }: StoreReport, expected: readonly Expectation[]): void {
  const missed = expected.filter((each) => !findings.some((finding) => isOf(finding, each)))
  assert.deepEqual(
    missed.map(({ damage: what, where, detail = '' }) => `${what}: ${where} ${detail}`),
    [],
  )
}

/** What is sound is not complained of. */
function assertNothingElse({ findings }: StoreReport, expected: readonly Expectation[]): void {
  const others = findings.filter(
    (finding) =>
      isLeft(finding) &&
      !expected.some(({ kind, where }) => kind === finding.kind && finding.where.includes(where)) &&
      // Of the image whose blobs are damaged there is nothing else to say.
      !(finding.kind === 'image-incomplete' && finding.where === `image ${stored}`),
  )
  assert.deepEqual(others, [])
}

const isOf = (finding: Finding, { kind, where, detail }: Expectation): boolean =>
  finding.kind === kind &&
  finding.where.includes(where) &&
  (detail === undefined || finding.details?.some((each) => each.startsWith(detail)) === true)

/** Does what the doctor says is left to do. */
async function heal(store: DoctorStore, expected: readonly Expectation[]): Promise<void> {
  await store.daemon.start()
  const heals = new Set(expected.map(({ heal: own }) => own))
  for (const own of heals) await own?.(store)
  await store.import(stored)
}

function assertSound({ findings, sound }: StoreReport): void {
  assert.deepEqual(findings.filter(isLeft), [])
  assert.equal(sound, true)
}
