import { randomBytes } from 'node:crypto'

import { type Context, forCleanup } from '#core/context.ts'
import type { Mount } from '#core/mount/mount.ts'
import { failedPrecondition, hasCode } from '#lib/errors/errors.ts'
import type { RemoteSnapshotter } from '#proxy/snapshots.ts'

import { chainIds } from '#core/images/chain-id.ts'
import type { ResolvedImage } from './manifest.ts'
import type { ManifestEntry } from '#core/images/oci.ts'
import type { Session } from './session.ts'

/** One layer to extract: what it is, and where it goes. */
interface Layer {
  readonly blob: ManifestEntry
  readonly diffId: string
  readonly chainId: string
  /** Chain ID of the layer below; empty for the first. */
  readonly parent: string
}

/**
 * Makes the layers of an image into snapshots, and ties them to its config, so that the collector
 * keeps them while the image is there.
 *
 * @returns the chain ID of the top layer, which is the name of its snapshot.
 */
export async function unpack(
  ctx: Context,
  session: Session,
  image: ResolvedImage,
  snapshotter: string,
): Promise<string> {
  const sn = session.snapshotter(snapshotter)
  const { diffIds } = image.config
  const chain = chainIds(diffIds)
  for (const [index, blob] of image.manifest.layers.entries()) {
    const layer: Layer = {
      blob,
      diffId: diffIds[index] ?? '',
      chainId: chain[index] ?? '',
      parent: chain[index - 1] ?? '',
    }
    await extract(ctx, session, sn, layer)
  }
  const top = chain.at(-1) ?? ''
  const key = `containerd.io/gc.ref.snapshot.${snapshotter}`
  const config = { digest: image.manifest.config.digest, labels: { [key]: top } }
  await session.content.update(ctx, config, [`labels.${key}`])
  return top
}

/**
 * Prepares the snapshot of a layer; undefined when it is there. Asked for by this label, it belongs to
 * the lease from then on: one that was merely seen could be collected before the next one is put on it.
 */
async function prepare(
  ctx: Context,
  sn: RemoteSnapshotter,
  { key, chainId, parent }: { key: string; chainId: string; parent: string },
): Promise<readonly Mount[] | undefined> {
  const labels = { 'containerd.io/snapshot.ref': chainId }
  try {
    return await sn.prepare(ctx, key, parent, { labels })
  } catch (err) {
    if (!hasCode(err, 'already_exists')) throw err
    return undefined
  }
}

async function extract(
  ctx: Context,
  session: Session,
  sn: RemoteSnapshotter,
  layer: Layer,
): Promise<void> {
  const { blob, diffId, chainId, parent } = layer
  const key = `extract-${uniquePart()} ${chainId}`
  await using undo = new AsyncDisposableStack()
  const mounts = await prepare(ctx, sn, { key, chainId, parent })
  if (!mounts) return
  undo.defer(() => removeQuietly(ctx, sn, key))

  const applied = await session.differ.apply(ctx, blob, mounts)
  if (applied.digest !== diffId) {
    throw failedPrecondition(
      `wrong diff id calculated on extraction ${JSON.stringify(applied.digest)}`,
    )
  }
  try {
    await sn.commit(ctx, chainId, key)
  } catch (err) {
    // Somebody else has unpacked the same layer meanwhile; theirs is as good.
    if (!hasCode(err, 'already_exists')) throw err
    return
  }
  undo.move()
  await labelUncompressed(ctx, session, blob.digest, diffId)
}

async function labelUncompressed(
  ctx: Context,
  session: Session,
  digest: string,
  diffId: string,
): Promise<void> {
  const key = 'containerd.io/uncompressed'
  await session.content.update(ctx, { digest, labels: { [key]: diffId } }, [`labels.${key}`])
}

async function removeQuietly(ctx: Context, sn: RemoteSnapshotter, key: string): Promise<void> {
  try {
    await sn.remove(forCleanup(ctx), key)
  } catch {
    // The error that led here is the one to tell; without the lease the collector has the rest.
  }
}

const uniquePart = (): string =>
  `${process.hrtime.bigint() % 1_000_000_000n}-${randomBytes(3).toString('base64url')}`
