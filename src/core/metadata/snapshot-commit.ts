import { type Context, namespaceOf } from '#core/context.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { SnapshotOptions } from '#core/snapshots/snapshotter.ts'
import { span } from '#core/trace.ts'
import type { ReadBucket } from '#lib/bolt/database.ts'
import { alreadyExists, describe, hasCode, notFound } from '#lib/errors/errors.ts'

import type { SnapshotBackend } from './backends.ts'
import { readText } from './fields.ts'
import { addToLease, moveInLease, requireLease } from './lease-links.ts'
import type { Records } from './records.ts'
import { backendName, find, snapshotsOf } from './schema.ts'
import { inherited } from './snapshot-labels.ts'
import { takeBlock } from './snapshot-numbers.ts'
import { missingParent, missingSnapshot, unlinkChild, writeSnapshot } from './snapshot-record.ts'
import { checkLabels, quote } from './wrap.ts'

/** What to commit, and as what. */
export interface SnapshotCommit {
  readonly name: string
  readonly key: string
  readonly labels: Labels
  /** The parent to put it on, if it has none; empty for none. */
  readonly parent: string
  readonly settle: SnapshotOptions['settle']
}

interface Plan {
  /** Names in the backend: the active snapshot's, and the one it will have. */
  readonly from: string
  readonly to: string
  /** Key of the parent it will have, and its name in the backend if it is a new one. */
  readonly parent: string
  readonly rebaseOn: string
}

/**
 * Commits a snapshot: planned, done by the backend, recorded in a write.
 *
 * Cut off in between, the record names a snapshot that the backend no longer has under that name,
 * as it would upstream; what the backend has instead goes with the next collection.
 */
export async function commitSnapshot(
  ctx: Context,
  records: Records,
  backend: SnapshotBackend,
  commit: SnapshotCommit,
): Promise<void> {
  const ns = namespaceOf(ctx)
  checkLabels('info.Labels', commit.labels)
  const views = [commit.name, commit.key, commit.parent].filter((key) => key !== '')
  using _keys = await backend.views.lockAll(
    views.map((key) => `${ns}/${key}`),
    ctx,
  )
  const plan = await planCommit(ctx, records, backend, commit)
  using _names = await backend.snapshots.lockAll([plan.from, plan.to], ctx)
  await commitInBackend(ctx, backend, commit, plan)
  await record(ctx, records, backend, commit, plan)
  backend.snapshots.claim(plan.to)
}

/** Agrees on names: without a write, unless a number is missing or a lease gets what is there. */
async function planCommit(
  ctx: Context,
  records: Records,
  backend: SnapshotBackend,
  commit: SnapshotCommit,
): Promise<Plan> {
  const ns = namespaceOf(ctx)
  const path = snapshotsOf(ns, backend.name)
  const { name } = commit
  ctx.signal.throwIfAborted()
  const plan = records.view((tx): Plan | undefined => {
    const snapshots = find(tx, path)
    if (!snapshots || find(snapshots, [name])) return undefined
    requireLease(tx, ctx)
    const parts = partsOf(snapshots, commit)
    const number = backend.numbers.take(ns, snapshots.sequence)
    return number === undefined ? undefined : { ...parts, to: backendName(ns, number, name) }
  })
  if (plan) return plan
  const written = await records.update(ctx, (tx) => {
    const snapshots = find(tx, path)
    if (!snapshots) throw notFound(`can not find snapshotter ${quote(backend.name)}`)
    if (find(snapshots, [name])) {
      addToLease(tx, ctx, ['snapshots', backend.name], name)
      return alreadyExists(`snapshot ${quote(name)}`)
    }
    requireLease(tx, ctx)
    return { ...partsOf(snapshots, commit), block: takeBlock(snapshots) }
  })
  // Thrown here, so that what the lease got stays.
  if (written instanceof Error) throw written
  const { block, ...parts } = written
  return { ...parts, to: backendName(ns, backend.numbers.open(ns, block), name) }
}

/** What becomes of the active snapshot, but for its new name. */
function partsOf(snapshots: ReadBucket, { key, parent: wanted }: SnapshotCommit): Omit<Plan, 'to'> {
  const active = find(snapshots, [key])
  if (!active) throw missingSnapshot(key)
  const parent = readText(active, 'parent') || wanted
  const below = parent === '' ? undefined : snapshots.bucket(parent)
  if (parent !== '' && !below) throw missingParent(parent)
  const rebase = below && readText(active, 'parent') === ''
  return {
    from: readText(active, 'name'),
    parent,
    rebaseOn: rebase ? readText(below, 'name') : '',
  }
}

async function commitInBackend(
  ctx: Context,
  backend: SnapshotBackend,
  { key, labels, settle }: SnapshotCommit,
  { from, to, rebaseOn }: Plan,
): Promise<void> {
  const rebase = rebaseOn === '' ? {} : { parent: rebaseOn, settle }
  const options = { labels: inherited(labels), ...rebase }
  try {
    await span(ctx, 'backend commit', async (own) => {
      await backend.snapshotter.commit(own, to, from, options)
    })
  } catch (err) {
    if (hasCode(err, 'not_found')) {
      ctx.log.error('uncommittable snapshot: missing in backend, snapshot should be removed', {
        snapshotter: backend.name,
        key,
        error: describe(err),
      })
    }
    throw err
  }
}

async function record(
  ctx: Context,
  records: Records,
  backend: SnapshotBackend,
  { name, key, labels }: SnapshotCommit,
  { to, parent }: Plan,
): Promise<void> {
  const path = snapshotsOf(namespaceOf(ctx), backend.name)
  const leased = ['snapshots', backend.name]
  try {
    await records.settle((tx) => {
      const snapshots = find(tx, path)
      // Nothing may have held it, and the collector came by.
      if (!snapshots?.bucket(key)) throw missingSnapshot(key)
      moveInLease(tx, ctx, leased, { from: key, key: name })
      snapshots.deleteBucket(key)
      unlinkChild(snapshots, parent, key)
      const now = new Date()
      writeSnapshot(snapshots, {
        key: name,
        name: to,
        parent,
        labels,
        createdAt: now,
        updatedAt: now,
      })
    })
  } catch (err) {
    records.markDeleted({ snapshotter: backend.name })
    ctx.log.error('snapshot is committed in the backend and could not be recorded', {
      snapshotter: backend.name,
      key,
      error: describe(err),
    })
    throw err
  }
}
