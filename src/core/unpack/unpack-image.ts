import { type Context, namespaceOf } from '#core/context.ts'
import type { ComingBlob } from '#core/diff/diff.ts'
import { chainIds } from '#core/images/chain-id.ts'
import { group } from '#lib/async/group.ts'
import { Semaphore } from '#lib/async/semaphore.ts'
import { describe, failedPrecondition } from '#lib/errors/errors.ts'

import {
  claimLayer,
  commitLayer,
  type Extracted,
  extractLayer,
  type Layer,
  type Leave,
} from './layer.ts'
import type { ImageToUnpack, Unpack, UnpackOptions, UnpackPlace, UnpackProgress } from './unpack.ts'

/**
 * Unpacks on the core contracts, over a connection as in the daemon.
 *
 * All layers that are missing are asked to arrive at once. Where they can be put on each other later, they
 * are extracted as they come, each alone, and committed one on the other; one that needs what is below
 * it is extracted again when that is there. A layer that somebody else unpacks is waited for.
 */
export const unpackImage: Unpack = async (ctx, place, image, options = {}) => {
  const layers = layersOf(image)
  const missing = await missingLayers(ctx, place, layers)
  const alone = missing.length > 1 && (await place.canRebase(ctx))
  const needed = Promise.withResolvers<void>()
  if (alone) needed.resolve()
  const turns = place.turns ?? new Semaphore(place.atOnce)
  const job: Job = { place, alone, needed, options, turns }
  await unpackMissing(ctx, job, missing)

  const top = layers.at(-1)?.chainId ?? ''
  const key = `containerd.io/gc.ref.snapshot.${place.snapshotterName}`
  const config = { digest: image.manifest.config.digest, labels: { [key]: top } }
  await place.content.update(ctx, config, [`labels.${key}`])
  return top
}

interface Job {
  readonly place: UnpackPlace
  /** Whether layers are tried without those below them. */
  readonly alone: boolean
  /** Resolved when a layer is not there and its snapshotter cannot get it itself: then blobs are asked to arrive. */
  readonly needed: PromiseWithResolvers<void>
  readonly options: UnpackOptions
  /** Who may extract. */
  readonly turns: Semaphore
}

function layersOf({ manifest, config: { diffIds }, name = '' }: ImageToUnpack): readonly Layer[] {
  if (diffIds.length !== manifest.layers.length) {
    throw failedPrecondition(
      `mismatched image rootfs and manifest layers: ${diffIds.length} and ${manifest.layers.length}`,
    )
  }
  const chain = chainIds(diffIds)
  return manifest.layers.map((blob, index) => ({
    blob,
    diffId: diffIds[index] ?? '',
    chainId: chain[index] ?? '',
    parent: chain[index - 1] ?? '',
    image: name === '' ? `the image with config ${manifest.config.digest}` : `"${name}"`,
  }))
}

/** Those above the highest that is there: a snapshot is there only with all that are below it. */
async function missingLayers(
  ctx: Context,
  { snapshotter }: UnpackPlace,
  layers: readonly Layer[],
): Promise<readonly Layer[]> {
  for (let count = layers.length; count > 0; count--) {
    const layer = layers[count - 1]
    if (layer && (await claimLayer(ctx, snapshotter, layer))) return layers.slice(count)
  }
  return layers
}

/** Waits always for layers further down, so that two images with layers in common do not deadlock. */
async function unpackMissing(ctx: Context, job: Job, layers: readonly Layer[]): Promise<void> {
  const arrivals: Promise<void>[] = []
  const comings = layers.map(() => new Coming())
  const done: Promise<void>[] = []
  const arriving = layers.map(({ blob }, index) => async (own: Context): Promise<void> => {
    await owned(arrivals, index, async () => {
      const isThere = async (): Promise<'there'> => {
        await done[index]
        return 'there'
      }
      if ((await Promise.race([job.needed.promise, isThere()])) === 'there') return
      await job.options.arrived?.(own, blob, (coming) => comings[index]?.begins(coming))
    }).finally(() => comings[index]?.ends())
  })
  const unpacking = layers.map((layer, index) => async (own: Context): Promise<void> => {
    const arrived = async (): Promise<void> => await arrivals[index]
    const coming = async (): Promise<ComingBlob | undefined> => await comings[index]?.blob()
    const below = index === 0 ? undefined : async (): Promise<void> => await done[index - 1]
    await owned(
      done,
      index,
      async () => await unpackLayer(own, job, layer, { arrived, coming, below }),
    )
  })
  // Arrivals look at what was begun before them.
  await group(ctx, [...unpacking, ...arriving])
}

/** A blob that may be seen while it comes. */
class Coming {
  readonly #known = Promise.withResolvers<void>()
  #blob: ComingBlob | undefined

  begins(blob: ComingBlob): void {
    this.#blob = blob
    this.#known.resolve()
  }

  ends(): void {
    this.#blob = undefined
    this.#known.resolve()
  }

  /** As soon as it may be seen; undefined when it has come, or will not. */
  async blob(): Promise<ComingBlob | undefined> {
    await this.#known.promise
    return this.#blob
  }
}

/** Begins `work` and leaves its promise in `list`, for those who wait for it; that it failed the group tells. */
async function owned(
  list: Promise<void>[],
  index: number,
  work: () => Promise<void>,
): Promise<void> {
  const begun = work()
  begun.catch(() => undefined)
  list[index] = begun
  await begun
}

/** What a layer waits for. */
interface Waits {
  readonly arrived: () => Promise<void>
  /** What will soon have arrived; undefined for what has already, or never will. */
  readonly coming: () => Promise<ComingBlob | undefined>
  /** That the layer below is committed; the parent of the first is there. */
  readonly below: (() => Promise<void>) | undefined
}

async function unpackLayer(ctx: Context, job: Job, layer: Layer, waits: Waits): Promise<void> {
  const { place } = job
  using _only = await place.locks.lock(keyOf(ctx, place, layer), ctx)
  if (waits.below) {
    await using extracted = job.alone
      ? await extractInTurn(ctx, job, layer, waits, true)
      : undefined
    await waits.below()
    if (extracted) return await finish(ctx, job, layer, extracted)
  }
  await using extracted = await extractInTurn(ctx, job, layer, waits, false)
  if (extracted) await finish(ctx, job, layer, extracted)
}

/** Undefined when there is nothing to commit: it is there, or must be extracted on its parent. */
async function extractInTurn(
  ctx: Context,
  { place, needed, options, turns }: Job,
  layer: Layer,
  { arrived, coming }: Waits,
  alone: boolean,
): Promise<Extracted | undefined> {
  let blob: ComingBlob | undefined
  const begin = async (early: boolean): Promise<Leave> => {
    needed.resolve()
    blob = early ? await coming() : undefined
    if (!blob) await arrived()
    const turn = await turns.acquire(ctx)
    const extracting = (): void => options.onProgress?.(progress('extracting', layer))
    // Until then it is still seen to come.
    if (blob) arrived().then(extracting, () => undefined)
    else extracting()
    return { coming: blob && { blob, arrived }, [Symbol.dispose]: () => turn[Symbol.dispose]() }
  }
  const extract = async (early: boolean): Promise<Extracted | undefined> => {
    const extracted = await extractLayer(ctx, place, layer, { alone, begin: () => begin(early) })
    return typeof extracted === 'string' ? undefined : extracted
  }
  try {
    return await extract(place.takesComing === true)
  } catch (err) {
    if (!blob || ctx.signal.aborted) throw err
    // What has come is looked at again when it is known to be right.
    await arrived()
    ctx.log.debug('extracting a layer again', { digest: layer.blob.digest, error: describe(err) })
    return await extract(false)
  }
}

async function finish(
  ctx: Context,
  { place, options }: Job,
  layer: Layer,
  extracted: Extracted,
): Promise<void> {
  await commitLayer(ctx, place, layer, extracted)
  options.onProgress?.(progress('extracted', layer))
}

const progress = (event: UnpackProgress['event'], { blob }: Layer): UnpackProgress => ({
  event,
  layer: blob,
})

const keyOf = (ctx: Context, { snapshotterName }: UnpackPlace, { chainId }: Layer): string =>
  `${namespaceOf(ctx)}/${snapshotterName}/${chainId}`
