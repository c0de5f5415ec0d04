import type { Context } from '#core/context.ts'
import type { Info } from '#core/snapshots/snapshotter.ts'
import { group } from '#lib/async/group.ts'
import type { ReadBucket } from '#lib/bolt/database.ts'
import { describe, hasCode } from '#lib/errors/errors.ts'

import type { SnapshotBackend } from './backends.ts'
import { ignoringMissing } from './content-gc.ts'
import { readText } from './fields.ts'
import type { Records } from './records.ts'
import { buckets, find, schemaVersion } from './schema.ts'
import { gathered } from './slices.ts'

/** How many snapshots are removed at once: a backend writes what it does for all of them together. */
const width = 16

/** Removes snapshots from a backend that no namespace has a record of, children first. */
export async function collectSnapshots(
  ctx: Context,
  records: Records,
  backend: SnapshotBackend,
): Promise<void> {
  using claimed = backend.snapshots.watch()
  const named = await records.read((tx) => namedSnapshots(tx, backend.name))
  const infos = await gathered(backend.snapshotter.list(ctx))
  for (const level of childrenFirst(infos)) {
    const next = level.filter(({ name }) => !named.has(name)).values()
    const worker = async (own: Context): Promise<void> => {
      for (const { name } of next) {
        using _lock = await backend.snapshots.lock(name, own)
        if (!claimed.names.has(name)) await remove(own, backend, name)
      }
    }
    await group(ctx, Array<typeof worker>(width).fill(worker))
  }
  await cleanup(ctx, backend)
}

async function remove(ctx: Context, backend: SnapshotBackend, key: string): Promise<void> {
  const fields = { snapshotter: backend.name, key }
  try {
    await ignoringMissing(backend.snapshotter.remove(ctx, key))
    ctx.log.debug('removed snapshot', fields)
  } catch (err) {
    if (!hasCode(err, 'failed_precondition')) throw err
    ctx.log.warn('failed to remove snapshot', { ...fields, error: describe(err) })
  }
}

/** Not every snapshotter leaves something for later. */
async function cleanup(ctx: Context, backend: SnapshotBackend): Promise<void> {
  try {
    await backend.snapshotter.cleanup(ctx)
  } catch (err) {
    if (!hasCode(err, 'unimplemented')) throw err
  }
}

function* namedSnapshots(
  tx: ReadBucket,
  snapshotter: string,
): Generator<void, ReadonlySet<string>> {
  const named = new Set<string>()
  for (const [, ns] of buckets(find(tx, [schemaVersion]))) {
    for (const [, snapshot] of buckets(find(ns, ['snapshots', snapshotter]))) {
      yield void named.add(readText(snapshot, 'name'))
    }
  }
  return named
}

/** `infos` in levels, none of them in an earlier one than those on top of it. */
function childrenFirst(infos: readonly Info[]): Info[][] {
  const children = Map.groupBy(infos, (info) => info.parent)
  const names = new Set(infos.map((info) => info.name))
  const levels: Info[][] = []
  let level = infos.filter((info) => !names.has(info.parent))
  while (level.length > 0) {
    levels.push(level)
    level = level.flatMap((info) => children.get(info.name) ?? [])
  }
  return levels.toReversed()
}
