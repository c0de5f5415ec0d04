import { setTimeout as sleep } from 'node:timers/promises'

import type { Cycle } from '#testing/soak.ts'

import { containerPids, shimHosts } from './leaks.ts'
import type { Life } from './lives.ts'
import type { World } from './world.ts'

/** What is killed or stopped while containers come and go. */
export type Victim =
  | 'nobody'
  | 'client'
  | 'daemon'
  | 'container'
  | 'host'
  | 'host and daemon'
  | 'stopped host'
  | 'daemon beside a stopped host'

/** How long a host is stopped that nobody shall notice, ms: less than the time a state may take. */
const longestStopMs = 800

/** Kills or stops it. @returns how many were killed or stopped. */
export async function disturb(
  world: World,
  victim: Victim,
  { lives, below }: { readonly lives: readonly Life[]; readonly below: Cycle['below'] },
): Promise<number> {
  if (victim === 'nobody') return 1
  if (victim === 'client') return lives.map(killClient).filter(Boolean).length
  if (victim === 'stopped host') return await stopHosts(world, () => sleep(below(longestStopMs)))
  for (const life of lives) life.disturbed = true
  if (victim === 'container') return send('SIGKILL', containerPids(world).slice(0, 2))
  if (victim === 'host') return send('SIGKILL', shimHosts(world))
  if (victim === 'daemon beside a stopped host') {
    return await stopHosts(world, async () => await restart(world))
  }
  if (victim === 'host and daemon') send('SIGKILL', shimHosts(world))
  await restart(world)
  return 1
}

async function restart(world: World): Promise<void> {
  await world.kill()
  await world.restart()
}

/** Whatever happens meanwhile, they go on afterwards. */
async function stopHosts(world: World, meanwhile: () => Promise<unknown>): Promise<number> {
  const hosts = shimHosts(world)
  send('SIGSTOP', hosts)
  try {
    await meanwhile()
  } finally {
    send('SIGCONT', hosts)
  }
  return hosts.length
}

function killClient(life: Life): boolean {
  if (!life.ctr) return false
  life.disturbed = true
  return life.ctr.kill('SIGKILL')
}

/** @returns how many got it. */
function send(signal: NodeJS.Signals, pids: readonly number[]): number {
  for (const pid of pids) {
    try {
      process.kill(pid, signal)
    } catch {
      // it has ended meanwhile
    }
  }
  return pids.length
}
