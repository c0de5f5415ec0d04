import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { random } from '#testing/random.ts'
import { root } from '#testing/root.ts'
import { type Cycle, soak, soakMs } from '#testing/soak.ts'

import { makeCorpus } from './corpus.ts'
import { Facts } from './facts.ts'
import { actions, Made, work } from './storage-work.ts'
import { abandon, assertNoLeftovers, assertWhole } from './whole.ts'
import { World } from './world.ts'

const clients = 4
/** Every other client has so many images, the rest has blobs and snapshots. */
const imagesEach = 2
/** For how many ms, at most, clients are let alone, and how long something that is awaited may take. */
const [longestLife, longestAction] = [600, 3000] as const

void suite('a daemon that is killed while images, blobs and snapshots come and go', () => {
  void test('has all that it acknowledged, whole, and nothing else', {
    timeout: soakMs(120_000),
  }, async (t) => {
    if (!root(t)) return
    await using archives = await mkdtempDisposable(join(tmpdir(), 'corpus-'))
    const images = await makeCorpus(archives.path, (clients / 2) * imagesEach, random(11))
    await using world = await World.open('storage', collector)
    const [facts, made] = [new Facts(), new Made(images)]
    try {
      await soak('kill9-storage', 3, (cycle) => oneCycle(world, facts, made, cycle))
    } catch (err) {
      t.diagnostic(await world.describe())
      throw err
    }
  })
})

const collector = '[plugins."io.containerd.gc.v1.scheduler"]\nschedule_delay = "0s"\n'

async function oneCycle(world: World, facts: Facts, made: Made, cycle: Cycle): Promise<void> {
  const images = [...made.images.values()]
  const stop = new AbortController()
  const workers = Array.from({ length: clients }, async (_, n) => {
    const client = await world.newClient()
    const own = n % 2 === 0 ? images.slice((n / 2) * imagesEach, (n / 2 + 1) * imagesEach) : []
    const seed = cycle.seed * clients + n
    return { client, done: work(client, { facts, made, seed, name: n, images: own }, stop.signal) }
  })
  const opened = await Promise.all(workers)
  const ended = Promise.race(opened.map(({ done }) => done))
  await Promise.race([inTheMidst(made, cycle), ended])
  for (const [what, times] of made.doing) if (times > 0) cycle.count(`while ${what}`)
  await world.kill()
  cycle.count('kills')
  for (const { client, done } of opened) {
    cycle.count('acknowledged', await done)
    await client[Symbol.asyncDispose]()
  }
  await world.restart()

  const storage = { client: world.client, dir: world.daemon.dir, root: world.daemon.root }
  const unpacked = made.unpacked().keys()
  cycle.count('objects compared', await assertWhole(storage, { facts, made, unpacked }))
  await abandon(storage, made)
  await assertNoLeftovers(storage)
}

/** Some time later, in the middle of one action: each has its turn, however short it is. */
async function inTheMidst(made: Made, cycle: Cycle): Promise<void> {
  await sleep(cycle.below(longestLife))
  const wanted = actions[cycle.seed % actions.length] ?? 'importing'
  const deadline = Date.now() + longestAction
  while (!made.doing.get(wanted) && Date.now() < deadline) await sleep(1)
  await sleep(cycle.below(wanted === 'importing' ? 300 : 12))
}
