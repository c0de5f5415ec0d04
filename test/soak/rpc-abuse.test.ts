import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import type { ClientHttp2Stream } from 'node:http2'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { writeBlob } from '#core/content/write-blob.ts'
import { root } from '#testing/root.ts'
import { type Cycle, soak, soakMs } from '#testing/soak.ts'

import { type Footprint, footprint } from './leaks.ts'
import { cancel, frame, openRaw, openStream, readRequest, subscribeRequest } from './raw-client.ts'
import { stepMs, World } from './world.ts'

const blobBytes = 48 * 1024 * 1024
/**
 * What the daemon may have more after the abuse than before it: of handles, and of MB. The latter is
 * not little: V8 collects large buffers late when little else happens. With a collection every 3 s
 * the daemon is back at what it had.
 */
const slack = { handles: 4, megabytes: 600 }
/** What it may hold, in MB, while it is abused: far less than what its clients do not read. */
const peakMegabytes = 1000
const settleMs = 60_000
/** The most that was seen. */
const peak = { megabytes: 0 }

const methods = {
  version: 'containerd.services.version.v1.Version/Version',
  list: 'containerd.services.containers.v1.Containers/List',
  read: 'containerd.services.content.v1.Content/Read',
  write: 'containerd.services.content.v1.Content/Write',
  subscribe: 'containerd.services.events.v1.Events/Subscribe',
} as const

type Abuse = (world: World, cycle: Cycle, digest: string) => Promise<void>
const abuses: Readonly<Record<string, Abuse>> = { cancelled, halfSent, slowReads, deafSubscribers }

void suite('a daemon whose clients misbehave', () => {
  void test('serves the others and keeps nothing', { timeout: soakMs(240_000) }, async (t) => {
    if (!root(t)) return
    await using world = await World.open('abuse')
    const digest = await bigBlob(world)
    let before: Footprint | undefined
    try {
      await soak('rpc-abuse', 2, async (cycle) => {
        for (const [name, abuse] of Object.entries(abuses)) {
          await servedMeanwhile(world, cycle, abuse(world, cycle, digest))
          cycle.count(name)
        }
        // What the first round makes the daemon load and cache is its own.
        if (before) await assertFlat(world, before)
        else before = await settled(world)
      })
      t.diagnostic(`the daemon held up to ${peak.megabytes} MB`)
      t.diagnostic(`${JSON.stringify(before)} became ${JSON.stringify(footprintOf(world))}`)
    } catch (err) {
      t.diagnostic(await world.describe())
      throw err
    }
  })
})

/** Calls that are taken back, before or after they were sent whole. */
async function cancelled(world: World, { below }: Cycle): Promise<void> {
  const session = await openRaw(world.daemon.address)
  for (let n = 0; n < 1000; n++) {
    const stream = openStream(session, below(2) === 0 ? methods.version : methods.list)
    if (below(3) > 0) stream.end(frame(Buffer.alloc(0)))
    if (below(4) === 0) await sleep(0)
    cancel(stream)
    if (n % 100 === 99) await sleep(10)
  }
  session.destroy()
}

/** Requests that stop in the middle, and connections that go away with them. */
async function halfSent(world: World, { below }: Cycle): Promise<void> {
  for (let connection = 0; connection < 10; connection++) {
    const session = await openRaw(world.daemon.address)
    for (let n = 0; n < 50; n++) {
      const method = [methods.version, methods.list, methods.write, methods.subscribe][below(4)]
      const stream = openStream(session, method ?? methods.list)
      stream.write(frame(Buffer.alloc(1 + below(5000))).subarray(0, 1 + below(5000)))
    }
    await sleep(20)
    session.destroy()
  }
}

/** Readers of a large blob that take none of it. */
async function slowReads(world: World, { below }: Cycle, digest: string): Promise<void> {
  const sessions = await Promise.all(Array.from({ length: 8 }, () => openRaw(world.daemon.address)))
  const streams = sessions.flatMap((session) =>
    Array.from({ length: 12 }, () => {
      const stream = openStream(session, methods.read)
      stream.end(readRequest(digest))
      return stream
    }),
  )
  await Promise.all(streams.map(answered))
  await sleep(300)
  for (const stream of streams) if (below(2) === 0) cancel(stream)
  for (const session of sessions) session.destroy()
}

/** Subscribers that do not listen while much happens. */
async function deafSubscribers(world: World): Promise<void> {
  const session = await openRaw(world.daemon.address)
  const streams = Array.from({ length: 50 }, () => {
    const stream = openStream(session, methods.subscribe)
    stream.end(subscribeRequest)
    return stream
  })
  const { client } = world
  const signal = AbortSignal.timeout(stepMs)
  for (let n = 0; n < 20; n++) {
    const names = Array.from({ length: 20 }, (_, i) => `deaf-${n}-${i}`)
    const labels = { long: 'x'.repeat(2000) }
    await Promise.all(names.map((name) => client.namespaces.create(name, labels, { signal })))
    await Promise.all(names.map((name) => client.namespaces.delete(name, { signal })))
  }
  for (const stream of streams.slice(0, 25)) cancel(stream)
  session.destroy()
}

/** The first of an answer has come; nothing more of it is read. */
async function answered(stream: ClientHttp2Stream): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  using _late = setTimeout(() => reject(new Error('no answer to a read')), settleMs)
  stream.once('response', () => resolve())
  stream.once('close', () => resolve())
  await promise
}

/** Others are served while somebody misbehaves, and the daemon does not swell. */
async function servedMeanwhile(world: World, cycle: Cycle, abuse: Promise<void>): Promise<void> {
  const over = new AbortController()
  const abused = abuse.finally(() => over.abort())
  const client = await world.newClient()
  try {
    do {
      await client.server({ signal: AbortSignal.timeout(stepMs) })
      cycle.count('others served')
      const held = footprintOf(world)
      peak.megabytes = Math.max(peak.megabytes, held.megabytes)
      assert.ok(held.megabytes < peakMegabytes, JSON.stringify(held))
      await sleep(5)
    } while (!over.signal.aborted)
  } finally {
    await abused
    await client[Symbol.asyncDispose]()
  }
}

async function assertFlat(world: World, before: Footprint): Promise<void> {
  const held = await settled(world, before)
  const [handles, megabytes] = [before.handles + slack.handles, before.megabytes + slack.megabytes]
  const text = `${JSON.stringify(before)} became ${JSON.stringify(held)}`
  assert.ok(held.handles <= handles && held.megabytes <= megabytes, text)
}

/** What the daemon holds when it has had time to let go: at most as much as `before`, if given. */
async function settled(world: World, before?: Footprint): Promise<Footprint> {
  const deadline = Date.now() + (before ? settleMs : 2000)
  for (;;) {
    const held = footprintOf(world)
    const low = before && held.handles <= before.handles + slack.handles
    const small = before && held.megabytes <= before.megabytes + slack.megabytes
    if ((low && small) || Date.now() > deadline) return held
    await sleep(100)
  }
}

function footprintOf({ daemon }: World): Footprint {
  const held = footprint(daemon.process.pid ?? 0)
  assert.ok(held, 'the daemon is gone')
  return held
}

/** Puts a blob into the store that an image keeps there. @returns its digest. */
async function bigBlob(world: World): Promise<string> {
  const data = Buffer.alloc(blobBytes, 'not much of a secret ')
  const digest = `sha256:${createHash('sha256').update(data).digest('hex')}`
  const client = world.client.with({ namespace: 'abuse' })
  const ctx = client.context({ signal: AbortSignal.timeout(stepMs) })
  const descriptor = { mediaType: 'application/octet-stream', digest, size: data.length }
  await client.images.create({ name: 'big', target: descriptor }, ctx)
  await writeBlob(ctx, client.content, [data], { ref: 'big', digest, size: data.length })
  return digest
}
