import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

import { isLeft, type StoreReport } from '#doctor/finding.ts'
import { findPlaces } from '#doctor/places.ts'
import { examineStore } from '#doctor/store.ts'
import { containerd1 } from '#testing/containerd.ts'
import { root } from '#testing/root.ts'
import { type Cycle, soak, soakMs } from '#testing/soak.ts'

import { damages, Targets } from './doctor-damage.ts'
import { DoctorStore, stored, unpacked } from './doctor-store.ts'

const wharf = fileURLToPath(new URL('../../bin/wharf.mjs', import.meta.url))
/** How many things are damaged, and for how long a repair of them may take on a busy machine, in ms. */
const [atOnce, longestMs] = [40, 4000] as const
const doctorMs = 120_000

void suite('a doctor that is killed', () => {
  const skip = containerd1() ? false : 'needs ctr'
  const timeout = soakMs(180_000)
  void test('leaves what the next one repairs', { skip, timeout }, async (t) => {
    if (!root(t)) return
    await using store = await DoctorStore.open()
    await store.daemon.stop()
    await soak('doctor-kill', 1, async (cycle) => {
      const targets = await Targets.of(store, cycle.below)
      for (let i = 0; i < atOnce; i++) await damages[cycle.below(damages.length)]?.(targets)
      for (let kills = 1 + cycle.below(3); kills > 0; kills--) await repairAndKill(store, cycle)
      const { findings } = await repair(store)
      const failed = findings.filter(({ outcome }) => outcome?.text.includes('failed'))
      assert.deepEqual(failed, [])
      await store.daemon.start()
      await store.import(stored)
      for (const id of await danglingContainers(store)) await store.succeed('container', 'rm', id)
      const ran = await store.succeed(
        'run',
        '--rm',
        unpacked,
        `kill-${cycle.number}`,
        'cat',
        '/of/unpacked',
      )
      assert.equal(ran, '')
      await store.daemon.stop()
      assert.deepEqual((await repair(store)).findings.filter(isLeft), [])
    })
  })
})

async function repairAndKill(store: DoctorStore, cycle: Cycle): Promise<void> {
  const { root: dir, state } = store.daemon
  const args = [wharf, 'doctor', 'store', '--root', dir, '--state', state, '--repair']
  const doctor = spawn(process.execPath, args, { stdio: 'ignore' })
  const exited = once(doctor, 'exit')
  await Promise.race([exited, sleep(cycle.below(longestMs))])
  cycle.count(doctor.exitCode === null ? 'killed' : 'too late', 1)
  doctor.kill('SIGKILL')
  await exited
}

const repair = async (store: DoctorStore): Promise<StoreReport> =>
  await examineStore(findPlaces(store.daemon), {
    signal: AbortSignal.timeout(doctorMs),
    repair: true,
    dropBrokenImages: false,
    quick: false,
  })

async function danglingContainers(store: DoctorStore): Promise<readonly string[]> {
  const ids = await store.succeed('container', 'ls', '-q')
  return ids.split('\n').filter((id) => id.startsWith('dangling-'))
}
