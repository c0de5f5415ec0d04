import { type Context, forCleanup, namespaceOf } from '#core/context.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { Mount } from '#core/mount/mount.ts'
import type { Info } from '#core/snapshots/snapshotter.ts'
import type { Bucket, ReadBucket } from '#lib/bolt/database.ts'
import {
  CodedError,
  alreadyExists,
  describe,
  hasCode,
  invalidArgument,
  notFound,
} from '#lib/errors/errors.ts'

import type { SnapshotBackend } from './backends.ts'
import { readText } from './fields.ts'
import { addToLease } from './lease-links.ts'
import type { Records } from './records.ts'
import { backendName, find, make, snapshotsOf } from './schema.ts'
import { inherited, refLabel } from './snapshot-labels.ts'
import { takeBlock } from './snapshot-numbers.ts'
import { missingParent, writeSnapshot } from './snapshot-record.ts'
import { checkLabels, quote } from './wrap.ts'

/** What to create. */
export interface NewSnapshot {
  readonly kind: 'active' | 'view'
  readonly key: string
  readonly parent: string
  readonly labels: Labels
}

/** Names in the backend, agreed before it is asked. */
interface Plan {
  readonly name: string
  readonly parent: string
}

/** A snapshot that the backend has and no record names yet. */
interface Made {
  readonly key: string
  readonly name: string
  readonly backendParent: string
  readonly labels: Labels
  readonly createdAt: Date
  readonly updatedAt: Date
}

/**
 * Creates a snapshot: a name is reserved, the backend makes it, a write records it. When that fails
 * or never comes, nothing names what the backend made, and it is removed.
 */
export async function createSnapshot(
  ctx: Context,
  records: Records,
  backend: SnapshotBackend,
  snapshot: NewSnapshot,
): Promise<readonly Mount[]> {
  const ns = namespaceOf(ctx)
  checkLabels('info.Labels', snapshot.labels)
  using _key = await backend.views.lock(`${ns}/${snapshot.key}`, ctx)
  const plan = await reserve(ctx, records, backend, snapshot)
  using _name = await backend.snapshots.lock(plan.name, ctx)
  const mounts = await makeInBackend(ctx, backend, snapshot, plan)
  if (mounts === undefined) return await adopt(ctx, records, backend, snapshot, plan)
  const now = new Date()
  const { key, labels } = snapshot
  try {
    const times = { createdAt: now, updatedAt: now }
    const made = { key, labels, name: plan.name, backendParent: plan.parent, ...times }
    await record(ctx, records, backend, snapshot, made)
  } catch (err) {
    await removeUnnamed(ctx, records, backend, plan.name)
    throw err
  }
  return mounts
}

/** Agrees on names: without a write, unless a number is missing or a lease gets what is there. */
async function reserve(
  ctx: Context,
  records: Records,
  backend: SnapshotBackend,
  snapshot: NewSnapshot,
): Promise<Plan> {
  const ns = namespaceOf(ctx)
  const path = snapshotsOf(ns, backend.name)
  const { key, parent } = snapshot
  ctx.signal.throwIfAborted()
  const plan = records.view((tx): Plan | undefined => {
    const snapshots = find(tx, path)
    if (!snapshots || present(snapshots, snapshot)) return undefined
    const below = parentName(snapshots, parent)
    const number = backend.numbers.take(ns, snapshots.sequence)
    return number === undefined ? undefined : { name: backendName(ns, number, key), parent: below }
  })
  if (plan) return plan
  const written = await records.update(ctx, (tx) => {
    const snapshots = make(tx, path)
    const there = present(snapshots, snapshot)
    if (there) {
      addToLease(tx, ctx, ['snapshots', backend.name], there.key)
      return alreadyExists(`${there.what} ${quote(there.key)}`)
    }
    return { parent: parentName(snapshots, parent), block: takeBlock(snapshots) }
  })
  // Thrown here, so that what the lease got stays.
  if (written instanceof Error) throw written
  const number = backend.numbers.open(ns, written.block)
  return { name: backendName(ns, number, key), parent: written.parent }
}

/** What is there already of what is to be created. */
function present(
  snapshots: ReadBucket,
  { key, labels }: NewSnapshot,
): { readonly what: string; readonly key: string } | undefined {
  const target = labels[refLabel] ?? ''
  if (find(snapshots, [target])) return { what: 'target snapshot', key: target }
  return find(snapshots, [key]) && { what: 'snapshot', key }
}

/** The parent's name in the backend; empty for none. */
function parentName(snapshots: ReadBucket, parent: string): string {
  if (parent === '') return ''
  const below = snapshots.bucket(parent)
  if (!below) throw missingParent(parent)
  return readText(below, 'name')
}

/** The mounts; undefined when the backend already has what the labels ask for. */
async function makeInBackend(
  ctx: Context,
  { snapshotter }: SnapshotBackend,
  { kind, labels }: NewSnapshot,
  { name, parent }: Plan,
): Promise<readonly Mount[] | undefined> {
  const options = { labels: inherited(labels) }
  try {
    return kind === 'view'
      ? await snapshotter.view(ctx, name, parent, options)
      : await snapshotter.prepare(ctx, name, parent, options)
  } catch (err) {
    if (!hasCode(err, 'already_exists')) throw err
    if ((labels[refLabel] ?? '') !== '') return undefined
    // The name is new: callers must not take this for a snapshot that they have.
    throw new CodedError(
      'unknown',
      `unexpected error from snapshotter: ${describe(err)}: unknown`,
      {
        cause: err,
      },
    )
  }
}

/** Records the committed snapshot that the backend has for a label. @throws `already_exists`, always. */
async function adopt(
  ctx: Context,
  records: Records,
  backend: SnapshotBackend,
  snapshot: NewSnapshot,
  plan: Plan,
): Promise<never> {
  const target = snapshot.labels[refLabel] ?? ''
  const { name } = await findTarget(ctx, backend, target, plan.parent)
  using _name = await backend.snapshots.lock(name, ctx)
  // Looked at again, now that the collector cannot take it.
  const info = await backend.snapshotter.stat(ctx, name)
  await record(ctx, records, backend, snapshot, {
    key: target,
    name,
    backendParent: info.parent,
    labels: { ...info.labels, ...snapshot.labels },
    createdAt: info.createdAt,
    updatedAt: info.updatedAt,
  })
  throw alreadyExists(`target snapshot ${quote(target)} from snapshotter`)
}

async function findTarget(
  ctx: Context,
  backend: SnapshotBackend,
  target: string,
  parent: string,
): Promise<Info> {
  const filter = `labels.${quote(refLabel)}==${quote(target)},parent==${quote(parent)}`
  for await (const info of backend.snapshotter.list(ctx, [filter])) {
    // Not every backend respects filters.
    const matches = info.labels[refLabel] === target && info.parent === parent
    if (info.kind === 'committed' && matches) return info
  }
  throw notFound(`target snapshot ${quote(target)} in backend`)
}

/** Writes the record of what the backend has. */
async function record(
  ctx: Context,
  records: Records,
  backend: SnapshotBackend,
  { parent }: NewSnapshot,
  made: Made,
): Promise<void> {
  const ns = namespaceOf(ctx)
  const exists = await records.settle((tx) => {
    const snapshots = find(tx, snapshotsOf(ns, backend.name))
    if (!snapshots) throw notFound(`can not find snapshotter ${quote(backend.name)}`)
    addToLease(tx, ctx, ['snapshots', backend.name], made.key)
    if (snapshots.bucket(made.key)) return true
    checkParent(snapshots, parent, made)
    writeSnapshot(snapshots, { ...made, parent })
    return false
  })
  if (exists) throw alreadyExists(`snapshot ${quote(made.key)}`)
  backend.snapshots.claim(made.name)
}

/** The backend may have had another parent in mind. */
function checkParent(snapshots: Bucket, parent: string, made: Made): void {
  if (parent === '') return
  const bucket = snapshots.bucket(parent)
  if (!bucket) throw missingParent(parent)
  if (readText(bucket, 'name') !== made.backendParent) {
    throw invalidArgument(`mismatched parent ${parent} from target ${made.labels[refLabel] ?? ''}`)
  }
}

async function removeUnnamed(
  ctx: Context,
  records: Records,
  backend: SnapshotBackend,
  name: string,
): Promise<void> {
  try {
    await backend.snapshotter.remove(forCleanup(ctx), name)
  } catch (err) {
    records.markDeleted({ snapshotter: backend.name })
    const fields = { snapshotter: backend.name, key: name, error: describe(err) }
    ctx.log.error('failed to cleanup unreferenced snapshot', fields)
  }
}
