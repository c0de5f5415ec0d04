import type { Store } from '#core/content/content.ts'
import { readBlob } from '#core/content/read-blob.ts'
import type { Context } from '#core/context.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import { hasCode } from '#lib/errors/errors.ts'

import { chainIds } from './chain-id.ts'
import { childrenOf, maxDocumentBytes } from './children.ts'
import type { Descriptor } from './images.ts'
import { isConfig, parseConfig } from './oci.ts'

/** What an image takes on disk; what it shares with others counts in full. */
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

/**
 * Adds up what `target` consists of, each blob and each snapshot once. containerd's own calculator counts the
 * top snapshot alone, and what is in an image twice twice.
 *
 * Source: upstream `core/images/usage/calculator.go`.
 *
 * @throws `invalid_argument` for content that is not what its type says.
 */
export async function usageOf(
  ctx: Context,
  content: Pick<Store, 'info' | 'reader'>,
  target: Descriptor,
  snapshotter: Pick<Snapshotter, 'usage'>,
): Promise<ImageUsage> {
  const seen = new Set<string>()
  const chains = new Set<string>()
  let contentBytes = 0
  let missing = 0
  const waiting: Descriptor[] = [target]
  for (let next = waiting.shift(); next; next = waiting.shift()) {
    if (seen.has(next.digest)) continue
    seen.add(next.digest)
    const size = await orNothing(async () => (await content.info(ctx, next.digest)).size)
    if (size === undefined) {
      missing += 1
      continue
    }
    contentBytes += size
    const children = await childrenOf(ctx, content, next)
    waiting.push(...children)
    for (const id of await chainsOf(ctx, content, children)) chains.add(id)
  }
  let snapshotBytes = 0
  let snapshots = 0
  for (const id of chains) {
    const size = await orNothing(async () => (await snapshotter.usage(ctx, id)).size)
    if (size === undefined) continue
    snapshotBytes += size
    snapshots += 1
  }
  return { contentBytes, snapshotBytes, snapshots, missing }
}

/** The snapshots of a manifest's layers, as far as the config among its `children` tells. */
async function chainsOf(
  ctx: Context,
  content: Pick<Store, 'reader'>,
  children: readonly Descriptor[],
): Promise<readonly string[]> {
  const config = children.find(({ mediaType }) => isConfig(mediaType))
  if (!config) return []
  const read = async (): Promise<Uint8Array> =>
    await readBlob(ctx, content, config.digest, maxDocumentBytes)
  const bytes = await orNothing(read)
  return bytes ? chainIds(parseConfig(bytes).diffIds) : []
}

async function orNothing<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work()
  } catch (err) {
    if (hasCode(err, 'not_found')) return undefined
    throw err
  }
}
