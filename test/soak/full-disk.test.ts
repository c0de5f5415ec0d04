import { mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import type { Client } from '#client/client.ts'
import { connect } from '#client/connect.ts'
import { hasCode } from '#lib/errors/errors.ts'
import { hasErrno } from '#lib/fs/has-errno.ts'
import { startDaemon } from '#testing/daemon.ts'
import { random } from '#testing/random.ts'
import { root } from '#testing/root.ts'
import { type Cycle, soak, soakMs } from '#testing/soak.ts'

import { type KnownImage, makeCorpus } from './corpus.ts'
import { Facts } from './facts.ts'
import { SmallDisk, type smallDisks } from './small-disk.ts'
import { Made, work } from './storage-work.ts'
import { abandon, assertNoLeftovers, assertWhole, type Storage } from './whole.ts'

const namespace = 'full'
const clients = 4
const imagesEach = 2
const kinds: readonly (keyof typeof smallDisks)[] = ['ext4', 'ext4 with few inodes', 'tmpfs']
/** How often a disk is filled up, how much is left at most, and for how many ms. */
const [times, mostLeft, mostFiles, longest] = [4, 1_500_000, 200, 500] as const

void suite('a disk that fills up while images, blobs and snapshots come and go', () => {
  void test('costs nothing but the room, and can be made free', {
    timeout: soakMs(120_000),
  }, async (t) => {
    if (!root(t)) return
    await using dir = await mkdtempDisposable(join(tmpdir(), 'full-'))
    const images = await makeCorpus(dir.path, (clients / 2) * imagesEach, random(13))
    await soak('full-disk', 1, async (cycle) => {
      const kind = kinds[cycle.seed % kinds.length] ?? 'ext4'
      await using disk = await SmallDisk.make(dir.path, kind)
      await oneDisk(dir.path, disk, images, cycle).catch((err: unknown) => {
        throw new Error(`wharfd said last:\n${lastLines(dir.path, cycle)}`, { cause: err })
      })
    })
  })
})

/** What the daemon of a cycle said last. */
const lastLines = (dir: string, { number }: Cycle): string =>
  readFileSync(logPath(dir, number), 'utf8').slice(-4000)

const logPath = (dir: string, number: number): string => join(dir, `log-${number}`)

async function oneDisk(
  outside: string,
  disk: SmallDisk,
  images: readonly KnownImage[],
  cycle: Cycle,
): Promise<void> {
  const dir = join(disk.path, 'd')
  mkdirSync(dir)
  // What the daemon says goes elsewhere.
  symlinkSync(logPath(outside, cycle.number), join(dir, 'log'))
  await using daemon = await startDaemon({ dir })
  const [facts, made] = [new Facts(), new Made(images)]
  for (let n = 0; n < times; n++) {
    const stop = new AbortController()
    const workers = Array.from({ length: clients }, async (_, at) => {
      await using client = await open(daemon.address)
      const own = at % 2 === 0 ? images.slice((at / 2) * imagesEach, (at / 2 + 1) * imagesEach) : []
      const seed = cycle.seed * clients * times + n * clients + at
      const forgives = (err: unknown): boolean => isFull(err, cycle)
      const all = { facts, made, seed, name: at, images: own, forgives }
      cycle.count('acknowledged', await work(client, all, stop.signal))
    })
    const working = Promise.all(workers)
    try {
      await Promise.race([sleep(100 + cycle.below(longest)), working])
      if (disk.freeFiles < 10_000 && n % 2 === 0) disk.fillFiles(cycle.below(mostFiles))
      else disk.fill(cycle.below(mostLeft))
      await Promise.race([sleep(100 + cycle.below(longest)), working])
      disk.fill(0)
      await Promise.race([sleep(50 + cycle.below(longest)), working])
    } finally {
      stop.abort()
      await working
    }
    cycle.count('times full')
    if (cycle.below(2) === 0) {
      await daemon.stop('SIGKILL')
      await daemon.start()
      cycle.count('starts on a full disk')
    }
    await using client = await open(daemon.address)
    const storage = { client, dir, root: daemon.root }
    await deleteSomething(storage, images, facts, made)
    disk.empty()
    const unpacked = made.unpacked().keys()
    cycle.count('objects compared', await assertWhole(storage, { facts, made, unpacked }))
    await abandon(storage, made)
    await assertNoLeftovers(storage)
  }
}

/** On a disk without a free block, an image can be deleted, and the collector does its work. */
async function deleteSomething(
  { client }: Storage,
  images: readonly KnownImage[],
  facts: Facts,
  made: Made,
): Promise<void> {
  const signal = AbortSignal.timeout(60_000)
  for (const { name } of await client.images.list([], { signal })) {
    if (!images.some((image) => image.name === name)) continue
    made.note(name, false)
    await facts.change(`image ${name}`, undefined, () =>
      client.images.delete(name, { synchronous: true, signal }),
    )
  }
}

/** What a client may be told on a full disk. The test itself runs out of room, too. */
function isFull(err: unknown, { count }: Cycle): boolean {
  const full = hasCode(err, 'resource_exhausted') || hasErrno(err, 'ENOSPC')
  if (full) count('refused')
  return full
}

const open = async (address: string): Promise<Client> =>
  await connect(address, { namespace, signal: AbortSignal.timeout(60_000) })
