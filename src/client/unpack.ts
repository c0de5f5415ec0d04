import type { Context } from '#core/context.ts'
import { chainIds } from '#core/images/chain-id.ts'
import { Introspection } from '#gen/services/introspection_pb.ts'
import { group } from '#lib/async/group.ts'
import { KeyedMutex } from '#lib/async/keyed-mutex.ts'
import { Semaphore } from '#lib/async/semaphore.ts'
import type { Connection } from '#lib/rpc/rpc.ts'
import { callOptions } from '#proxy/call.ts'
import type { RemoteSnapshotter } from '#proxy/snapshots.ts'

import type { ResolvedImage } from './manifest.ts'
import type { Session } from './session.ts'
import {
  aloneAnnotation,
  claimLayer,
  commitLayer,
  extractLayer,
  type Layer,
} from './unpack-layer.ts'

/** How many layers of one image are given to the daemon at once. It has a bound of its own. */
const layersAtOnce = 4

/**
 * Makes the layers of an image into snapshots, and ties them to its config, so that the collector
 * keeps them while the image is there.
 *
 * Where the snapshotter can put a snapshot on its parent when it is committed (capability `rebase`) and
 * the differ tells of layers that cannot wait for it (`io.wharf.unpack.alone`), layers are extracted at the same time, each alone, and committed one on the other:
 *
 *     layer 0   ── extract ─────── commit
 *     layer 1   ── extract ──┐          └── commit on 0
 *     layer 2   ── extract ──┴───────────────────── commit on 1
 *
 * One that needs what is below it is extracted again when that is there. A layer that somebody else
 * unpacks over the same connection is waited for.
 *
 * @returns the chain ID of the top layer, which is the name of its snapshot.
 */
export async function unpack(
  ctx: Context,
  session: Session,
  image: ResolvedImage,
  snapshotter: string,
): Promise<string> {
  const layers = layersOf(image)
  const sn = session.snapshotter(snapshotter)
  const job: Job = { session, sn, snapshotter, locks: locksOf(session.connection) }
  const missing = await missingLayers(ctx, sn, layers)
  if (missing.length > 1 && (await canUnpackTogether(ctx, session, snapshotter))) {
    await unpackTogether(ctx, job, missing)
  } else {
    for (const layer of missing) await unpackOne(ctx, job, layer)
  }
  const top = layers.at(-1)?.chainId ?? ''
  const key = `containerd.io/gc.ref.snapshot.${snapshotter}`
  const config = { digest: image.manifest.config.digest, labels: { [key]: top } }
  await session.content.update(ctx, config, [`labels.${key}`])
  return top
}

/** Where layers go. */
interface Job {
  readonly session: Session
  readonly sn: RemoteSnapshotter
  readonly snapshotter: string
  readonly locks: KeyedMutex
}

function layersOf({ manifest, config: { diffIds } }: ResolvedImage): readonly Layer[] {
  const chain = chainIds(diffIds)
  return manifest.layers.map((blob, index) => ({
    blob,
    diffId: diffIds[index] ?? '',
    chainId: chain[index] ?? '',
    parent: chain[index - 1] ?? '',
  }))
}

/** Those above the highest that is there: a snapshot is there only with all that are below it. */
async function missingLayers(
  ctx: Context,
  sn: RemoteSnapshotter,
  layers: readonly Layer[],
): Promise<readonly Layer[]> {
  for (let count = layers.length; count > 0; count--) {
    const layer = layers[count - 1]
    if (layer && (await claimLayer(ctx, sn, layer))) return layers.slice(count)
  }
  return layers
}

/**
 * Whether layers can be extracted alone: the snapshotter puts them on each other later, and the differ
 * tells of one that cannot. containerd's does not tell, and makes wrong directories of some.
 */
async function canUnpackTogether(
  ctx: Context,
  session: Session,
  snapshotter: string,
): Promise<boolean> {
  const introspection = session.connection.client(Introspection)
  const has = async (filter: string, capability: string): Promise<boolean> => {
    const { plugins } = await introspection.plugins({ filters: [filter] }, callOptions(ctx))
    return plugins.some(({ capabilities }) => capabilities.includes(capability))
  }
  const id = JSON.stringify(snapshotter)
  return (
    (await has(`type==io.containerd.snapshotter.v1,id==${id}`, 'rebase')) &&
    (await has('type==io.containerd.differ.v1', aloneAnnotation))
  )
}

async function unpackOne(ctx: Context, job: Job, layer: Layer): Promise<void> {
  using _only = await job.locks.lock(keyOf(ctx, job, layer), ctx)
  await unpackOnParent(ctx, job, layer)
}

async function unpackOnParent(ctx: Context, job: Job, layer: Layer): Promise<void> {
  const extracted = await extractLayer(ctx, job, layer)
  if (typeof extracted === 'string') return
  await using owned = extracted
  await commitLayer(ctx, job, layer, owned)
}

/** Waits always for layers further down, so that two images with layers in common do not deadlock. */
async function unpackTogether(ctx: Context, job: Job, layers: readonly Layer[]): Promise<void> {
  const places = new Semaphore(layersAtOnce)
  const done: Promise<void>[] = []
  const tasks = layers.map((layer, index) => async (own: Context): Promise<void> => {
    const below = index === 0 ? undefined : async (): Promise<void> => await done[index - 1]
    const work = unpackInPlace(own, job, layer, { places, below })
    // Whoever is above waits for it; that it failed is told by the group.
    work.catch(() => undefined)
    done[index] = work
    await work
  })
  await group(ctx, tasks)
}

interface Turn {
  readonly places: Semaphore
  /** Waits for the layer below; not of the first, whose parent is there. */
  readonly below: (() => Promise<void>) | undefined
}

async function unpackInPlace(ctx: Context, job: Job, layer: Layer, turn: Turn): Promise<void> {
  using _only = await job.locks.lock(keyOf(ctx, job, layer), ctx)
  if (turn.below && (await unpackAlone(ctx, job, layer, turn)) === 'done') return
  using _place = await turn.places.acquire(ctx)
  await unpackOnParent(ctx, job, layer)
}

/** When it ends, the layer below is committed. */
async function unpackAlone(
  ctx: Context,
  job: Job,
  layer: Layer,
  { places, below }: Turn,
): Promise<'done' | 'needs-below'> {
  const extract = async (): ReturnType<typeof extractLayer> => {
    using _place = await places.acquire(ctx)
    return await extractLayer(ctx, job, layer, { alone: true })
  }
  const extracted = await extract()
  if (typeof extracted === 'string') {
    await below?.()
    return extracted === 'present' ? 'done' : extracted
  }
  await using owned = extracted
  await below?.()
  await commitLayer(ctx, job, layer, owned)
  return 'done'
}

const keyOf = (ctx: Context, { snapshotter }: Job, { chainId }: Layer): string =>
  `${ctx.namespace ?? ''}/${snapshotter}/${chainId}`

/** Who unpacks what over a connection: all clients made from it share this. */
const allLocks = new WeakMap<Connection, KeyedMutex>()

const locksOf = (connection: Connection): KeyedMutex =>
  allLocks.getOrInsertComputed(connection, () => new KeyedMutex())
