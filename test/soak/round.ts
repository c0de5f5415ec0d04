import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { handlesOf } from '#testing/handles.ts'
import { busyboxImage } from '#testing/image.ts'
import type { Cycle } from '#testing/soak.ts'

import { deleteAll } from './delete-all.ts'
import { assertNothingLeft, type Footprint, footprint, served, shimHosts } from './leaks.ts'
import { assertKept, type Life, live } from './lives.ts'
import { disturb, type Victim } from './victims.ts'
import { busybox, World } from './world.ts'

/** How many containers come and go at the same time. */
const [fewest, most] = [4, 12] as const
/** Within what time of each of them somebody is killed, ms. */
const msPerLife = 120

/** Handles that may come and go without being leaked, and MB that a process may grow to. */
const limits = { handles: 60, megabytes: 300 }
/** How long they may take to let go of what was used last. */
const slimMs = 20_000

/** A machine that is this busy may be slow to tell how a task is. */
const patient = '[timeouts]\n"io.containerd.timeout.task.state" = "60s"\n'

/** Runs `body` in a world with an image, of which nothing is left afterwards, no host either. */
export async function withWorld(
  t: TestContext,
  name: string,
  body: (world: World) => Promise<void>,
): Promise<void> {
  await using world = await World.open(name, patient)
  try {
    const file = await world.archive(busyboxImage(busybox))
    const imported = await world.ctr('image', 'import', file)
    assert.equal(imported.code, 0, imported.stderr)
    await world.client.images.get(busybox, { signal: AbortSignal.timeout(60_000) })
    await body(world)
    await endsWithoutShims(world)
  } catch (err) {
    t.diagnostic(await world.describe())
    throw err
  }
}

/**
 * Some containers come and go, while one of `victims` is killed or stopped. Then what is left is
 * deleted, and nothing of them may be there.
 */
export async function oneRound(
  world: World,
  cycle: Cycle,
  victims: readonly Victim[],
): Promise<void> {
  const { number, below, count } = cycle
  const lives = Array.from(
    { length: fewest + below(most - fewest + 1) },
    (_, n): Life => ({ id: `c${number}-${n}`, record: 'unknown', disturbed: false }),
  )
  count('containers', lives.length)
  const victim = victims[below(victims.length)] ?? 'nobody'
  const delay = below(lives.length * msPerLife)
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

/** Between two rounds nobody has more than a process needs that does nothing. */
async function assertSlim(world: World): Promise<void> {
  const deadline = Date.now() + slimMs
  for (;;) {
    const held = served(world).flatMap((pid) => footprint(pid) ?? [])
    if (shimHosts(world).length <= 1 && held.every(isSlim)) return
    if (Date.now() > deadline) {
      const open = held
        .filter((each) => !isSlim(each))
        .map(({ pid }) => handlesOf(pid).join('\n  '))
      throw new Error(`daemon and hosts: ${JSON.stringify(held)}\n  ${open.join('\n  ')}`)
    }
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
