import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { containerd1 } from '#testing/containerd.ts'
import { root } from '#testing/root.ts'
import { type Cycle, soak, soakMs } from '#testing/soak.ts'

import { shimHosts } from './leaks.ts'
import { oneRound, withWorld } from './round.ts'
import { type Sample, pssOf, trendOf } from './trend.ts'
import type { Victim } from './victims.ts'

/** These leave the daemon and the host alone, whose memory can be seen to grow or not. */
const victims: readonly Victim[] = ['nobody', 'nobody', 'client', 'container']

/** What the daemon or the host may grow by, kB for each of a thousand containers. */
const growthKb = 1000
/** Before so many a process has not come to rest and nothing can be said. */
const enough = 2000

void suite('containers that come and go in a daemon and a host that go on', () => {
  const skip = containerd1() ? false : 'needs ctr'
  void test(`leave nothing behind; after ${enough} of them, no memory either`, {
    skip,
    timeout: soakMs(240_000),
  }, async (t) => {
    if (!root(t)) return
    await withWorld(t, 'churn', async (world) => {
      const growth = { daemon: new Growth(), host: new Growth() }
      await soak('churn', 2, async (cycle) => {
        await oneRound(world, cycle, victims)
        growth.daemon.look(world.daemon.process.pid, cycle, 'daemon')
        growth.host.look(shimHosts(world)[0], cycle, 'host')
      })
      for (const [name, each] of Object.entries(growth)) each.assertNone(name)
    })
  })
})

/** The memory of one process, as long as it is the same. */
class Growth {
  #samples: Sample[] = []
  #pid: number | undefined
  #done = 0

  look(pid: number | undefined, { gauge, counted }: Cycle, name: string): void {
    const pssKb = pid === undefined ? undefined : pssOf(pid)
    if (pssKb === undefined) return
    if (pid !== this.#pid) this.#samples = []
    this.#pid = pid
    this.#done = counted('containers')
    this.#samples.push({ done: this.#done, pssKb })
    gauge(`kB of the ${name}`, pssKb)
    const trend = trendOf(this.#samples)
    if (!trend) return
    gauge(`kB per 1000 of the ${name}`, trend.slope)
    gauge(`kB per 1000 of the ${name}, ±`, trend.bound)
  }

  /** Fails when it is certain that it grows. */
  assertNone(name: string): void {
    const trend = trendOf(this.#samples)
    if (!trend || this.#done < enough) return
    const least = trend.slope - trend.bound
    assert.ok(least <= growthKb, `the ${name} grows: ${JSON.stringify(trend)} kB per 1000`)
  }
}
