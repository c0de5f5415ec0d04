import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import type { Client } from '#client/client.ts'
import type { Context } from '#core/context.ts'
import { hasCode } from '#lib/errors/errors.ts'
import { RemoteLeaseManager } from '#proxy/leases.ts'

import { assertTree } from './corpus.ts'
import type { Facts } from './facts.ts'
import { mountsBelow } from './leaks.ts'
import { type Made, readRecord, uploadOf } from './storage-work.ts'

const contentDir = 'io.containerd.content.v1.content'
const snapshotsDir = 'io.containerd.snapshotter.v1.overlayfs/snapshots'
const settleMs = 60_000

/** A daemon and what it keeps, to be looked at. */
export interface Storage {
  readonly client: Client
  readonly dir: string
  readonly root: string
}

/** What clients know. */
export interface Known {
  readonly facts: Facts
  readonly made: Made
  /** Names of images that are there, with all their layers. */
  readonly unpacked: Iterable<string>
}

/**
 * Compares what a daemon has with what it acknowledged, and what its records say with what is on
 * disk. @returns how many objects there are.
 */
export async function assertWhole(
  storage: Storage,
  { facts, made, unpacked }: Known,
): Promise<number> {
  const { client } = storage
  const ctx = client.context({ signal: AbortSignal.timeout(settleMs) })
  await facts.check(async (key) => await readRecord(client, ctx, key))
  const blobs = await assertBlobs(storage, ctx)
  const trees = await assertSnapshots(storage, ctx, made)
  assertUnpacked(made, unpacked, trees)
  return blobs.size + trees.size
}

/** Every blob that has a record is the one that its name says. */
async function assertBlobs({ client, root }: Storage, ctx: Context): Promise<Set<string>> {
  const digests = new Set<string>()
  for await (const { digest, size } of client.content.list(ctx)) {
    const path = join(root, contentDir, 'blobs', digest.replace(':', '/'))
    const bytes = existsSync(path) ? readFileSync(path) : undefined
    // What nothing needs may be collected just now: first its record, then the file.
    if (!bytes && !(await client.content.info(ctx, digest).catch(unlessMissing))) continue
    assert.ok(bytes, `${digest} is not on disk`)
    const [algorithm = ''] = digest.split(':')
    const sum = createHash(algorithm).update(bytes).digest('hex')
    assert.equal(`${algorithm}:${sum}`, digest)
    assert.equal(bytes.length, size, digest)
    digests.add(digest)
  }
  return digests
}

/** Every committed snapshot has the files that were put into it. */
async function assertSnapshots(
  { client, root }: Storage,
  ctx: Context,
  made: Made,
): Promise<Set<string>> {
  const snapshots = client.snapshots()
  const committed = new Set<string>()
  for (const info of await Array.fromAsync(snapshots.list([], ctx))) {
    const { name, kind } = info
    if (kind !== 'committed') continue
    const tree = made.treeOf(info)
    assert.ok(tree, `nobody has made ${name}`)
    const view = `view ${name}`
    const mounts = await snapshots.view(view, name, { signal: ctx.signal }).catch(unlessMissing)
    // What no image needs may be collected just now; those that are needed are counted later.
    if (!mounts) continue
    const [mount] = mounts
    const lower = mount?.options.find((option) => option.startsWith('lowerdir='))
    const top = lower?.slice('lowerdir='.length).split(':')[0] ?? mount?.source ?? ''
    assertTree(join(root, snapshotsDir, top.split('/').at(-2) ?? '', 'fs'), tree, name)
    await snapshots.remove(view, ctx).catch(unlessMissing)
    committed.add(name)
  }
  return committed
}

/** An image that was unpacked has all its layers. */
function assertUnpacked(made: Made, unpacked: Iterable<string>, trees: ReadonlySet<string>): void {
  for (const name of unpacked) {
    for (const chainId of made.images.get(name)?.trees.keys() ?? []) {
      assert.ok(trees.has(chainId), `${name} lacks the snapshot ${chainId}`)
    }
  }
}

/** Throws away what clients that were cut off hold: leases, uploads and snapshots they were filling. */
export async function abandon({ client }: Storage, made: Made): Promise<void> {
  const ctx = client.context({ signal: AbortSignal.timeout(settleMs) })
  const leases = new RemoteLeaseManager(client.connection)
  for (const { id } of await leases.list(ctx)) await leases.delete(ctx, id)
  const uploads = (await client.content.listStatuses(ctx)).map(({ ref }) => ref)
  // One that found its blob there has nothing to list, and keeps that blob for a day.
  const unlisted = made.blobs.keys().map(uploadOf)
  for (const ref of new Set([...uploads, ...unlisted])) {
    await client.content.abort(ctx, ref).catch(unlessMissing)
  }
  for (const { name, kind } of await Array.fromAsync(client.snapshots().list([], ctx))) {
    if (kind !== 'committed') await client.snapshots().remove(name, ctx).catch(unlessMissing)
  }
}

/** Fails unless, when the collector has been, there is nothing on disk without a record. */
export async function assertNoLeftovers(storage: Storage): Promise<void> {
  const deadline = Date.now() + settleMs
  for (;;) {
    const left = await leftovers(storage)
    if (left.length === 0) return
    if (Date.now() > deadline) throw new Error(`left behind:\n  ${left.join('\n  ')}`)
    await sleep(50)
  }
}

async function leftovers({ client, dir, root }: Storage): Promise<readonly string[]> {
  const ctx = client.context({ signal: AbortSignal.timeout(settleMs) })
  const digests = await Array.fromAsync(client.content.list(ctx), ({ digest }) => digest)
  const recorded = await Array.fromAsync(client.snapshots().list([], ctx), ({ name }) => name)
  const blobs = list(join(root, contentDir, 'blobs/sha256')).map((hex) => `sha256:${hex}`)
  const snapshots = list(join(root, snapshotsDir))
  const more = snapshots.length - recorded.length
  return [
    ...blobs.filter((digest) => !digests.includes(digest)).map((digest) => `blob ${digest}`),
    ...list(join(root, contentDir, 'ingest')).map((name) => `upload ${name}`),
    ...list(join(root, 'tmpmounts')).map((name) => `temporary mount ${name}`),
    ...(more === 0 ? [] : [`${more} of the directories ${snapshots.join(' ')}`]),
    ...mountsBelow(dir).map((path) => `mount ${path}`),
  ]
}

const list = (dir: string): readonly string[] => (existsSync(dir) ? readdirSync(dir) : [])

function unlessMissing(err: unknown): undefined {
  if (!hasCode(err, 'not_found')) throw err
}
