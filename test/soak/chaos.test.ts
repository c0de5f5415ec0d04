import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { containerd1 } from '#testing/containerd.ts'
import { busyboxImage } from '#testing/image.ts'
import { root } from '#testing/root.ts'
import { type Cycle, soak, soakMs } from '#testing/soak.ts'

import { deleteAll } from './delete-all.ts'
import { assertNothingLeft, containerPids, type Footprint, footprint, shimHosts } from './leaks.ts'
import { assertKept, type Life, live } from './lives.ts'
import { busybox, World } from './world.ts'

/** What is killed or stopped, and how often of as many times as there are words. */
const victims = [
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
] as const
type Victim = (typeof victims)[number]

/** Handles that may come and go without being leaked, and MB that a process may grow to. */
const limits = { handles: 60, megabytes: 300 }
/** How long a host is stopped that nobody shall notice, ms: less than the time a state may take. */
const longestStopMs = 800
/** How long they may take to let go of what was used last. */
const slimMs = 20_000

void suite('containers that come and go while things are killed', () => {
  const skip = containerd1() ? false : 'needs ctr'
  void test('can all be deleted, and leave nothing', {
    skip,
    timeout: soakMs(240_000),
  }, async (t) => {
    if (!root(t)) return
    await using world = await World.open('chaos')
    try {
      const signal = AbortSignal.timeout(60_000)
      const file = await world.archive(busyboxImage(busybox))
      const imported = await world.ctr('image', 'import', file)
      assert.equal(imported.code, 0, imported.stderr)
      await world.client.images.get(busybox, { signal })
      await soak('chaos', 4, (cycle) => oneCycle(world, cycle))
      await endsWithoutShims(world)
    } catch (err) {
      t.diagnostic(await world.describe())
      throw err
    }
  })
})

async function oneCycle(world: World, cycle: Cycle): Promise<void> {
  const { number, below, count } = cycle
  const lives = Array.from(
    { length: 1 + below(8) },
    (_, n): Life => ({ id: `c${number}-${n}`, record: 'unknown', disturbed: false }),
  )
  const victim = victims[below(victims.length)] ?? 'nobody'
  const delay = below(1200)
  const ends = Promise.all(lives.map((life) => live(world, life, below)))
  await Promise.race([sleep(delay), ends])
  count(`killed ${victim}`, await disturb(world, victim, { lives, below }))
  await ends

  for (const { id, disturbed, failure } of lives) {
    if (failure === undefined) count('whole lives')
    else if (disturbed) count('cut lives')
    else throw new Error(`${id} failed though only ${victim} was killed`, { cause: failure })
  }
  for (const life of lives)
    if (!life.disturbed || victim.includes('daemon')) await assertKept(world, life)
  await deleteAll(world)
  await assertNothingLeft(world)
  await assertSlim(world)
}

/** @returns how many were killed or stopped. */
async function disturb(
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

/** Between two cycles nobody has more than a process needs that does nothing. */
async function assertSlim(world: World): Promise<void> {
  const deadline = Date.now() + slimMs
  for (;;) {
    const hosts = shimHosts(world)
    const held = [world.daemon.process.pid ?? 0, ...hosts].flatMap((pid) => footprint(pid) ?? [])
    if (hosts.length <= 1 && held.every(isSlim)) return
    if (Date.now() > deadline) throw new Error(`daemon and hosts: ${JSON.stringify(held)}`)
    await sleep(50)
  }
}

const isSlim = ({ handles, megabytes, zombies }: Footprint): boolean =>
  handles <= limits.handles && megabytes <= limits.megabytes && zombies === 0

/**
 * A daemon that is told to stop takes the hosts with it that have no containers. One that it does
 * not know, since it was killed in between, ends by itself after 10 s.
 */
async function endsWithoutShims(world: World): Promise<void> {
  await world.daemon.stop()
  for (let n = 0; n < 800 && shimHosts(world).length > 0; n++) await sleep(50)
  assert.deepEqual(shimHosts(world), [], 'shims are left')
}
