import { suite, test } from 'node:test'

import { containerd1 } from '#testing/containerd.ts'
import { root } from '#testing/root.ts'
import { soak, soakMs } from '#testing/soak.ts'

import { networkCount } from './leaks.ts'
import { oneRound, withWorld } from './round.ts'
import type { Victim } from './victims.ts'

/** What is killed or stopped, and how often of as many times as there are words. */
const victims: readonly Victim[] = [
  'nobody',
  'nobody',
  'client',
  'client',
  'daemon',
  'daemon',
  'daemon',
  'container',
  'container',
  'host',
  'host',
  'host and daemon',
  'stopped host',
  'daemon beside a stopped host',
]
void suite('containers that come and go while things are killed', () => {
  const skip = containerd1() ? false : 'needs ctr'
  void test('can all be deleted, and leave nothing', {
    skip,
    timeout: soakMs(240_000),
  }, async (t) => {
    if (!root(t)) return
    await withWorld(t, 'chaos', async (world) => {
      await soak('chaos', 3, async (cycle) => {
        await oneRound(world, cycle, victims)
        cycle.gauge('netns of the machine', networkCount())
      })
    })
  })
})
