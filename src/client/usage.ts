import type { Context } from '#core/context.ts'
import { chainIds } from '#core/images/chain-id.ts'
import type { Descriptor } from '#core/images/images.ts'
import { parseConfig, parseManifest, isManifest } from '#core/images/oci.ts'
import { readBlob } from '#core/content/read-blob.ts'
import { hasCode } from '#lib/errors/errors.ts'

import { childrenOf } from '#core/images/children.ts'
import type { Session } from './session.ts'

/** What an image takes on the disk of its daemon; what it shares with others counts in full. */
export interface ImageUsage {
  /** Blobs that are there, as they came: compressed where they are. */
  readonly contentBytes: number
  /** Layers that are unpacked. */
  readonly snapshotBytes: number
  /** How many layers are unpacked. */
  readonly snapshots: number
  /** Blobs that belong to it and are not there, such as those of other platforms. */
  readonly missing: number
}

/** More than any real config has, in bytes. */
const maxConfigBytes = 16 << 20

/** Adds up what `target` consists of, each blob and each snapshot once. */
export async function usageOf(
  ctx: Context,
  session: Session,
  target: Descriptor,
  snapshotter: string,
): Promise<ImageUsage> {
  const blobs = new Map<string, number>()
  const chains = new Set<string>()
  let missing = 0
  const waiting: Descriptor[] = [target]
  for (let next = waiting.shift(); next; next = waiting.shift()) {
    if (blobs.has(next.digest)) continue
    try {
      const { size } = await session.content.info(ctx, next.digest)
      blobs.set(next.digest, size)
      waiting.push(...(await childrenOf(ctx, session.content, next)))
      for (const id of await chainsOf(ctx, session, next)) chains.add(id)
    } catch (err) {
      if (!hasCode(err, 'not_found')) throw err
      missing += 1
    }
  }
  let snapshotBytes = 0
  let snapshots = 0
  for (const id of chains) {
    const size = await snapshotSize(ctx, session, snapshotter, id)
    if (size === undefined) continue
    snapshotBytes += size
    snapshots += 1
  }
  const contentBytes = blobs.values().reduce((sum, size) => sum + size, 0)
  return { contentBytes, snapshotBytes, snapshots, missing }
}

async function chainsOf(
  ctx: Context,
  { content }: Session,
  { mediaType, digest }: Descriptor,
): Promise<readonly string[]> {
  if (!isManifest(mediaType)) return []
  const { config } = parseManifest(await readBlob(ctx, content, digest, maxConfigBytes))
  return chainIds(parseConfig(await readBlob(ctx, content, config.digest, maxConfigBytes)).diffIds)
}

async function snapshotSize(
  ctx: Context,
  session: Session,
  snapshotter: string,
  id: string,
): Promise<number | undefined> {
  try {
    return (await session.snapshotter(snapshotter).usage(ctx, id)).size
  } catch (err) {
    if (hasCode(err, 'not_found')) return undefined
    throw err
  }
}
