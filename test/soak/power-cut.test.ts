import { mkdir, mkdtempDisposable, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import type { Client } from '#client/client.ts'
import { connect } from '#client/connect.ts'
import { startDaemon } from '#testing/daemon.ts'
import { findProgram } from '#testing/programs.ts'
import { random } from '#testing/random.ts'
import { root } from '#testing/root.ts'
import { type Cycle, soak, soakMs } from '#testing/soak.ts'

import { type KnownImage, makeCorpus } from './corpus.ts'
import { Disk, fileSystems } from './disk.ts'
import { Facts } from './facts.ts'
import { Made, work } from './storage-work.ts'
import { abandon, assertNoLeftovers, assertWhole, type Known } from './whole.ts'

const namespace = 'power'
const clients = 4
const imagesEach = 2
/** Cuts of one disk, and the ms of work before each. */
const [cuts, longestLife] = [2, 900] as const

void suite('a disk whose power is cut while images, blobs and snapshots come and go', () => {
  const missing = ['mkfs.xfs', 'mkfs.ext4'].filter((program) => !findProgram(program))
  const skip = missing.length > 0 && `needs ${missing.join(' and ')}`
  void test('has all that was acknowledged, whole', {
    skip,
    timeout: soakMs(120_000),
  }, async (t) => {
    if (!root(t)) return
    await using dir = await mkdtempDisposable(join(tmpdir(), 'power-'))
    const images = await makeCorpus(dir.path, (clients / 2) * imagesEach, random(12))
    await soak('power-cut', 1, async (cycle) => await oneDisk(dir.path, images, cycle))
  })
})

async function oneDisk(dir: string, images: readonly KnownImage[], cycle: Cycle): Promise<void> {
  const fs = fileSystems[cycle.seed % fileSystems.length]
  if (!fs) throw new Error('there is none')
  await using disk = await Disk.make(dir, fs)
  await using daemon = await startDaemon({ dir: await daemonDir(disk) })
  const [facts, made] = [new Facts(), new Made(images)]
  const stop = new AbortController()
  const workers = Array.from({ length: clients }, async (_, n) => {
    await using client = await open(daemon.address)
    const own = n % 2 === 0 ? images.slice((n / 2) * imagesEach, (n / 2 + 1) * imagesEach) : []
    const seed = cycle.seed * clients + n
    cycle.count(
      'acknowledged',
      await work(client, { facts, made, seed, name: n, images: own }, stop.signal),
    )
  })
  const working = Promise.all(workers)
  try {
    for (let n = 0; n < cuts; n++) {
      await Promise.race([sleep(cycle.below(longestLife)), working])
      const { cut, known } = await cutPower(disk, { facts, made }, `cut-${n}`)
      await using _cut = cut
      cycle.count('objects compared', await assertCut(cut, known))
      cycle.count('power cuts')
    }
  } finally {
    stop.abort()
    await working
  }
}

/** What is known before the cut must be there after it; what is done meanwhile may be. */
async function cutPower(
  disk: Disk,
  { facts, made }: { readonly facts: Facts; readonly made: Made },
  name: string,
): Promise<{ readonly cut: Disk; readonly known: Known }> {
  using watched = facts.watch()
  const before = made.unpacked()
  const cut = await disk.cut(name)
  const after = made.unpacked()
  const unpacked = before.keys().filter((image) => before.get(image) === after.get(image))
  return { cut, known: { facts: watched.facts, made, unpacked: unpacked.toArray() } }
}

/** Starts a daemon after a power cut. @returns how many objects it has. */
async function assertCut(disk: Disk, known: Known): Promise<number> {
  const dir = join(disk.path, 'd')
  // Its state was in memory.
  await rm(join(dir, 'state'), { recursive: true, force: true })
  await using daemon = await startDaemon({ dir })
  await using client = await open(daemon.address)
  const storage = { client, dir, root: daemon.root }
  const objects = await assertWhole(storage, known)
  await abandon(storage, known.made)
  await assertNoLeftovers(storage)
  return objects
}

async function daemonDir(disk: Disk): Promise<string> {
  const dir = join(disk.path, 'd')
  await mkdir(dir)
  return dir
}

const open = async (address: string): Promise<Client> =>
  await connect(address, { namespace, signal: AbortSignal.timeout(60_000) })
