import { randomBytes } from 'node:crypto'

import { type Context, forCleanup } from '#core/context.ts'
import {
  aloneAnnotation,
  type Applied,
  type ApplyOptions,
  type ComingBlob,
  uncompressedLabel,
} from '#core/diff/diff.ts'
import type { ManifestEntry } from '#core/images/oci.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { Mount } from '#core/mount/mount.ts'
import type { SnapshotOptions, Snapshotter } from '#core/snapshots/snapshotter.ts'
import { failedPrecondition, hasCode } from '#lib/errors/errors.ts'
import { saysFull } from '#lib/fs/full-disk.ts'

import { extractionFailure, stageOf } from './extraction-failure.ts'
import type { UnpackPlace } from './unpack.ts'

/** One layer to extract: what it is, and where it goes. */
export interface Layer {
  readonly blob: ManifestEntry
  readonly diffId: string
  readonly chainId: string
  /** Chain ID of the layer below; empty for the first. */
  readonly parent: string
  /** What it is a layer of, for messages. */
  readonly image: string
}

/** A layer in a snapshot of its own, which is removed on disposal unless it was committed. */
export interface Extracted extends AsyncDisposable {
  readonly key: string
  readonly labels: Labels
  readonly settle: SnapshotOptions['settle']
  /** Its snapshot will not be removed. */
  keep(): void
}

/** Leave to extract a layer, until it is disposed. */
export interface Leave extends Disposable {
  /** Its blob, where that is not there yet; what was extracted counts when it has `arrived`. */
  readonly coming?: { readonly blob: ComingBlob; readonly arrived: () => Promise<void> } | undefined
}

export interface ExtractOptions {
  /** Without its parent. */
  readonly alone?: boolean
  /** Waits for the blob and for leave to extract it. */
  readonly begin: () => Promise<Leave>
}

/**
 * Takes the snapshot of a layer into the caller's lease: one that was merely seen could be collected
 * before anything refers to it. @returns whether there is one.
 */
export async function claimLayer(ctx: Context, sn: Snapshotter, layer: Layer): Promise<boolean> {
  try {
    await sn.stat(ctx, layer.chainId)
  } catch (err) {
    if (!hasCode(err, 'not_found')) throw err
    return false
  }
  const key = `extract-${uniquePart()} ${layer.chainId}`
  const { parent } = layer
  try {
    if (!(await prepare(ctx, sn, layer, { key, labels: labelsOf(layer), parent }))) return true
  } catch (err) {
    // It was collected between the two calls, with its parent or without.
    if (!hasCode(err, 'not_found')) throw err
    return false
  }
  await removeQuietly(ctx, sn, key)
  return false
}

/**
 * Extracts a layer on top of its parent, or without one if `alone`: then its commit puts it there.
 *
 * @returns `present` when its snapshot is there already; `needs-below` when it can be extracted on top
 * of its parent only.
 * @throws `failed_precondition` for content that is not what the config says.
 */
export async function extractLayer(
  ctx: Context,
  place: UnpackPlace,
  layer: Layer,
  { alone = false, begin }: ExtractOptions,
): Promise<Extracted | 'present' | 'needs-below'> {
  const { blob, diffId, chainId, parent } = layer
  const sn = place.snapshotter
  const labels = labelsOf(layer)
  const key = `extract-${uniquePart()} ${chainId}`
  await using undo = new AsyncDisposableStack()
  const asked = { key, labels, parent: alone ? '' : parent }
  const mounts = await prepare(ctx, sn, layer, asked).catch((err: unknown) => {
    throw saysFull(err) ? extractionFailure(layer, [], err) : err
  })
  if (!mounts) return 'present'
  undo.defer(() => removeQuietly(ctx, sn, key))

  const applied = await apply(ctx, place, { blob, mounts, alone }, begin).catch((err: unknown) => {
    throw ctx.signal.aborted ? err : extractionFailure(layer, mounts, err)
  })
  if (!applied) return 'needs-below'
  if (applied.digest !== diffId) {
    const what = `wrong diff id calculated on extraction ${JSON.stringify(applied.digest)}`
    throw failedPrecondition(`${stageOf(layer)}: ${what}, and its config says ${diffId}`)
  }
  const { settle } = applied
  let owned: AsyncDisposableStack | undefined = undo.move()
  return {
    key,
    labels,
    settle: settle && (async (below) => await settle(ctx, below)),
    keep: () => void (owned = undefined),
    [Symbol.asyncDispose]: async () => await owned?.disposeAsync(),
  }
}

/** Commits what was extracted, on its parent, and notes on the blob what it is. */
export async function commitLayer(
  ctx: Context,
  { content, snapshotter: sn }: UnpackPlace,
  { blob, diffId, chainId, parent }: Layer,
  extracted: Extracted,
): Promise<void> {
  try {
    const { key, labels, settle } = extracted
    await sn.commit(ctx, chainId, key, { labels, parent, settle })
  } catch (err) {
    // Somebody else has unpacked the same layer meanwhile; theirs is as good.
    if (!hasCode(err, 'already_exists')) throw err
    return
  }
  extracted.keep()
  const update = { digest: blob.digest, labels: { [uncompressedLabel]: diffId } }
  await content.update(ctx, update, [`labels.${uncompressedLabel}`])
}

/** What snapshotters are told of a layer. Source: upstream `core/unpack/unpacker.go`, `core/snapshots`. */
const labelsOf = ({ blob, chainId, diffId, parent }: Layer): Labels => ({
  ...inherited(blob.annotations),
  'containerd.io/snapshot.ref': chainId,
  'containerd.io/snapshot/diff-id': diffId,
  ...(parent !== '' && { 'containerd.io/snapshot/parent-chain-id': parent }),
})

/**
 * What a manifest tells snapshotters of a layer. Whose files they are is not for an image to say.
 * Source: upstream `core/snapshots/snapshotter.go`, `FilterInheritedLabels`.
 */
const inherited = (annotations: Labels = {}): Labels =>
  Object.fromEntries(
    Object.entries(annotations).filter(
      ([key]) => key.startsWith('containerd.io/snapshot/') && !/\/[ug]idmapping$/.test(key),
    ),
  )

async function prepare(
  ctx: Context,
  sn: Snapshotter,
  { chainId }: Layer,
  {
    key,
    labels,
    parent,
  }: { readonly key: string; readonly labels: Labels; readonly parent: string },
): Promise<readonly Mount[] | undefined> {
  try {
    return await sn.prepare(ctx, key, parent, { labels })
  } catch (err) {
    if (!hasCode(err, 'already_exists')) throw err
  }
  // The label says what for: that is there already.
  await sn.stat(ctx, chainId)
  return undefined
}

async function apply(
  ctx: Context,
  { differ, settles }: UnpackPlace,
  { blob, mounts, alone }: Application,
  begin: ExtractOptions['begin'],
): Promise<Applied | undefined> {
  using leave = await begin()
  const coming = leave.coming?.blob
  const applied = alone
    ? await applyAlone(ctx, differ, { blob, mounts }, { coming, settles })
    : await differ.apply(ctx, blob, mounts, { coming })
  await leave.coming?.arrived()
  return applied
}

interface Application {
  readonly blob: ManifestEntry
  readonly mounts: readonly Mount[]
  readonly alone: boolean
}

/** Undefined when the differ says that it needs what is below. */
async function applyAlone(
  ctx: Context,
  differ: UnpackPlace['differ'],
  { blob, mounts }: Pick<Application, 'blob' | 'mounts'>,
  options: ApplyOptions,
): Promise<Applied | undefined> {
  const annotations = { ...blob.annotations, [aloneAnnotation]: 'true' }
  try {
    return await differ.apply(ctx, { ...blob, annotations }, markingDeletions(mounts), options)
  } catch (err) {
    if (!hasCode(err, 'failed_precondition')) throw err
    return undefined
  }
}

/**
 * A snapshot without a parent is mounted by a bind mount, on which what the layer deletes would just
 * go; on the upper directory of an overlay it is marked, for the layers that will be below.
 */
function markingDeletions(mounts: readonly Mount[]): readonly Mount[] {
  const [only] = mounts
  if (mounts.length !== 1 || only?.type !== 'bind') return mounts
  const options = only.options.filter((option) => option !== 'rbind' && option !== 'bind')
  return [{ type: 'overlay', source: 'overlay', options: [...options, `upperdir=${only.source}`] }]
}

async function removeQuietly(ctx: Context, sn: Snapshotter, key: string): Promise<void> {
  try {
    await sn.remove(forCleanup(ctx), key)
  } catch {
    // The error that led here is the one to tell; without the lease the collector has the rest.
  }
}

const uniquePart = (): string =>
  `${process.hrtime.bigint() % 1_000_000_000n}-${randomBytes(3).toString('base64url')}`
