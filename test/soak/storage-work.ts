import { randomBytes } from 'node:crypto'
import { writeFileSync, mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import type { Client } from '#client/client.ts'
import type { Context } from '#core/context.ts'
import { writeBlob } from '#core/content/write-blob.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { Mount } from '#core/mount/mount.ts'
import type { Info } from '#core/snapshots/snapshotter.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { random } from '#testing/random.ts'

import { type KnownImage, makeTree, type Tree } from './corpus.ts'
import type { Facts } from './facts.ts'

/*
 * What clients do to the storage of a daemon, over and over, each with names of its own:
 *
 *     image       import and unpack       delete, and half the time wait for the collector
 *     blob        upload and commit       delete
 *     snapshot    prepare, fill, commit   remove
 */

/** What clients do; `collecting` is a delete that waits for the collector. */
export const actions = [
  'importing',
  'uploading',
  'preparing',
  'committing',
  'deleting',
  'collecting',
] as const
export type Action = (typeof actions)[number]

/** Everything that clients have made so far, by name. */
export class Made {
  readonly images = new Map<string, KnownImage>()
  readonly blobs = new Set<string>()
  readonly #unpacked = new Map<string, number>()
  #imports = 0
  /** How many clients do what now. */
  readonly doing = new Map<Action, number>()

  constructor(images: readonly KnownImage[]) {
    for (const image of images) this.images.set(image.name, image)
  }

  /** What a snapshot must have, if it is known. */
  treeOf({ name, labels }: Pick<Info, 'name' | 'labels'>): Tree | undefined {
    const seed = labels[treeLabel]
    if (seed !== undefined) return treeFrom(Number(seed))
    const layers = this.images.values().map(({ trees }) => trees.get(name))
    return layers.find((tree) => tree !== undefined)
  }

  /** Images of which clients know that they are unpacked, each with the number of its import. */
  unpacked(): ReadonlyMap<string, number> {
    return new Map(this.#unpacked)
  }

  /** Says whether clients know that an image is unpacked. */
  note(image: string, unpacked: boolean): void {
    if (unpacked) this.#unpacked.set(image, ++this.#imports)
    else this.#unpacked.delete(image)
  }

  async do<T>(what: Action, step: () => Promise<T>): Promise<T> {
    this.doing.set(what, (this.doing.get(what) ?? 0) + 1)
    try {
      return await step()
    } finally {
      this.doing.set(what, (this.doing.get(what) ?? 0) - 1)
    }
  }
}

/** The name of the upload of a blob. */
export const uploadOf = (digest: string): string => `blob-${digest}`

/** The collector leaves what has this alone. */
const rooted = { 'containerd.io/gc.root': '2026-01-01T00:00:00Z' }
/** The seed of the files of a snapshot. */
const treeLabel = 'tree'
const treeFrom = (seed: number): Tree => makeTree(`tree-${seed}`, random(seed))

const largestBlob = 300_000
const fewNames = 4

/** One client, until it is told to stop or its daemon is gone. @returns how much was acknowledged. */
export async function work(
  client: Client,
  { facts, made, seed, name, images, forgives }: Work,
  signal: AbortSignal,
): Promise<number> {
  const below = random(seed)
  const ctx = client.context({ signal: AbortSignal.timeout(120_000) })
  const worker: Worker = { client, ctx, facts, made, below, name }
  let acknowledged = 0
  while (!signal.aborted) {
    const image = images[below(images.length)]
    try {
      if (image) await changeImage(worker, image)
      else if (below(2) === 0) await changeBlob(worker)
      else await changeSnapshot(worker)
      acknowledged++
    } catch (err) {
      if (forgives?.(err)) continue
      // A call may hear of the end of the daemon before its connection does.
      for (let n = 0; n < 100 && !client.connection.closed.aborted; n++) await sleep(10)
      if (!client.connection.closed.aborted) throw err
      return acknowledged
    }
  }
  return acknowledged
}

/** What one client works on. */
export interface Work {
  readonly facts: Facts
  readonly made: Made
  readonly seed: number
  /** Number of the client: in the names of what it makes. */
  readonly name: number
  /** Nobody else's; a client without images has blobs and snapshots. */
  readonly images: readonly KnownImage[]
  /** Whether the client goes on after an error; without it after none. */
  readonly forgives?: (err: unknown) => boolean
}

interface Worker extends Omit<Work, 'images' | 'seed' | 'forgives'> {
  readonly client: Client
  readonly ctx: Context
  readonly below: (limit: number) => number
}

async function changeImage(worker: Worker, { name, archive }: KnownImage): Promise<void> {
  const { client, ctx, facts, made, below } = worker
  const key = `image ${name}`
  const { signal } = ctx
  await facts.settle(key, (record) => readRecord(client, ctx, record))
  if (facts.now(key)) {
    made.note(name, false)
    const synchronous = below(2) === 0
    await facts.change(key, undefined, () =>
      made.do(synchronous ? 'collecting' : 'deleting', () =>
        client.images.delete(name, { synchronous, signal }),
      ),
    )
  } else {
    await facts.change(key, {}, () =>
      made.do('importing', () => client.images.import(archive, { signal })),
    )
    made.note(name, true)
  }
}

async function changeBlob({ client, ctx, facts, made, below, name: mine }: Worker): Promise<void> {
  const bytes = Buffer.from(`${mine} ${below(fewNames)} `.repeat(largestBlob / 6))
  const digest = digestOf(bytes)
  const key = `blob ${digest}`
  made.blobs.add(digest)
  await facts.settle(key, (record) => readRecord(client, ctx, record))
  if (facts.now(key)) {
    await facts.change(key, undefined, () =>
      made.do('deleting', () => client.content.delete(ctx, digest)),
    )
  } else {
    const options = { ref: uploadOf(digest), size: bytes.length, digest, labels: rooted }
    await facts.change(key, rooted, () =>
      made.do('uploading', () => writeBlob(ctx, client.content, [bytes], options)),
    )
  }
}

async function changeSnapshot({
  client,
  ctx,
  facts,
  made,
  below,
  name: mine,
}: Worker): Promise<void> {
  const snapshots = client.snapshots()
  const name = `snapshot-${mine}-${below(fewNames)}`
  const key = `snapshot ${name}`
  const options = { labels: rooted, signal: ctx.signal }
  await facts.settle(key, (record) => readRecord(client, ctx, record))
  if (facts.now(key)) {
    await facts.change(key, undefined, () =>
      made.do('deleting', () => snapshots.remove(name, options)),
    )
    return
  }
  const tree = below(1 << 30)
  const labels = { ...rooted, [treeLabel]: String(tree) }
  const active = `active-${randomBytes(6).toString('hex')}`
  const mounts = await made.do('preparing', () => snapshots.prepare(active, '', options))
  fill(mounts, treeFrom(tree))
  await facts.change(key, labels, () =>
    made.do('committing', () => snapshots.commit(name, active, { ...options, labels })),
  )
}

/** The labels of what the facts call `key`. @throws `not_found`. */
export async function readRecord(client: Client, ctx: Context, key: string): Promise<Labels> {
  const [kind, name = ''] = key.split(' ')
  if (kind === 'blob') return (await client.content.info(ctx, name)).labels
  if (kind === 'snapshot') return (await client.snapshots().stat(name, ctx)).labels
  await client.images.get(name, ctx)
  return {}
}

/** As a client that has mounted it. */
function fill(mounts: readonly Mount[], tree: Tree): void {
  const source = mounts[0]?.source ?? ''
  for (const [path, text] of Object.entries(tree)) {
    mkdirSync(dirname(join(source, path)), { recursive: true })
    writeFileSync(join(source, path), text)
  }
}
