/**
 * What a snapshotter remembers, in `metadata.db`. Source: upstream `core/snapshots/storage/bolt.go`.
 *
 *     v1/snapshots/                        its sequence numbers the snapshots
 *         <key or name>/
 *             id                           uvarint; in decimal, the name of its directory
 *             kind                         1 byte: 1 view, 2 active, 3 committed
 *             parent                       name of the snapshot below; only when there is one
 *             createdat updatedat          Go's binary time
 *             inodes size                  varint; only of committed ones
 *             labels/<key> = <value>
 *     v1/parents/
 *         <parent id> 00 <child id>        uvarints; the value is the child's key or name
 */
import { adaptSnapshot } from '#core/snapshots/adapt.ts'
import type { Info, Kind, SnapshotOptions, Usage } from '#core/snapshots/snapshotter.ts'
import type { Bucket, ReadBucket } from '#lib/bolt/database.ts'
import { alreadyExists, failedPrecondition, invalidArgument, notFound } from '#lib/errors/errors.ts'
import { parseFilters } from '#lib/filters/filters.ts'
import { decodeUvarint, encodeUvarint } from '#lib/go/varint.ts'

import {
  readId,
  readInfo,
  readKind,
  readParent,
  readUsage,
  writeInfo,
  writeLabels,
  writeTimes,
  writeUsage,
} from './record.ts'

/** A snapshot that can be mounted. Ids are decimal numbers. */
export interface Snapshot {
  readonly id: string
  readonly info: Info
  /** Of the snapshots below, nearest first. */
  readonly parentIds: readonly string[]
}

/** A snapshot of any kind. */
export interface StoredSnapshot {
  readonly id: string
  readonly info: Info
  /** As it was at `commit`; zero for others. */
  readonly usage: Usage
}

export interface CreateOptions {
  readonly kind: 'active' | 'view'
  readonly key: string
  readonly parent: string
  readonly labels?: Info['labels'] | undefined
  /** One that no snapshot has had; without it, the next. */
  readonly id?: bigint | undefined
}

/**
 * Whether there can be such a snapshot. @returns the ids of those below it, nearest first.
 *
 * @throws `already_exists`; `not_found` or `invalid_argument` for the parent.
 */
export function checkNew(
  tx: ReadBucket,
  { key, parent }: Pick<CreateOptions, 'key' | 'parent'>,
): readonly string[] {
  const parentIds = parent === '' ? [] : checkParent(tx, parent)
  if (allSnapshots(tx)?.bucket(key)) throw alreadyExists(`snapshot ${key}`)
  return parentIds
}

/** Whether there can be snapshots on `parent`. @returns its id and those below it, nearest first. @throws as `checkNew`. */
export const checkParent = (tx: ReadBucket, parent: string): readonly string[] =>
  committedChain(allSnapshots(tx), parent)

/** @throws as `checkNew`. */
export function createSnapshot(tx: Bucket, options: CreateOptions): Snapshot {
  const { kind, key, parent, labels = {} } = options
  const parentIds = checkNew(tx, options)
  const version = tx.createBucketIfNotExists('v1')
  const snapshots = version.createBucketIfNotExists('snapshots')
  const parents = version.createBucketIfNotExists('parents')

  const id = options.id ?? snapshots.nextSequence()
  if (id > snapshots.sequence) snapshots.setSequence(id)
  const now = new Date()
  const info: Info = { name: key, kind, parent, labels, createdAt: now, updatedAt: now }
  const record = snapshots.createBucket(key)
  writeInfo(record, id, info)
  const [parentId] = parentIds
  if (parentId !== undefined) parents.put(linkKey(BigInt(parentId), id), key)
  return { id: String(id), info: readInfo(record, key), parentIds }
}

/** An active snapshot or view. @throws `not_found`; `failed_precondition` for a committed one. */
export function getSnapshot(tx: ReadBucket, key: string): Snapshot {
  const snapshots = allSnapshots(tx)
  const record = snapshots?.bucket(key)
  if (!snapshots || !record) throw missing()
  const info = readInfo(record, key)
  if (info.kind === 'committed') {
    throw failedPrecondition(`requested snapshot ${key} not active or view`)
  }
  const parentIds = info.parent === '' ? [] : chain(snapshots, info.parent)
  return { id: String(readId(record)), info, parentIds }
}

/** @throws `not_found`. */
export function getInfo(tx: ReadBucket, key: string): StoredSnapshot {
  const record = allSnapshots(tx)?.bucket(key)
  if (!record) throw missing()
  return stored(record, key)
}

export const hasSnapshot = (tx: ReadBucket, key: string): boolean =>
  allSnapshots(tx)?.bucket(key) !== undefined

/** All snapshots that match any of `filters`, by name. @throws `invalid_argument`. */
export function* listSnapshots(
  tx: ReadBucket,
  filters: readonly string[] = [],
): Generator<StoredSnapshot> {
  const matches = parseFilters(filters)
  for (const [key, record] of allSnapshots(tx)?.buckets() ?? []) {
    const snapshot = stored(record, Buffer.from(key).toString())
    if (matches(adaptSnapshot(snapshot.info))) yield snapshot
  }
}

/** Changes labels: those of `paths`, or all. @throws `not_found`; `invalid_argument` for a path. */
export function updateInfo(
  tx: Bucket,
  { name, labels }: Pick<Info, 'name' | 'labels'>,
  paths: readonly string[],
): StoredSnapshot {
  const record = tx.bucket('v1')?.bucket('snapshots')?.bucket(name)
  if (!record) throw missing()
  const info = readInfo(record, name)
  let changed: Record<string, string> = paths.length > 0 ? { ...info.labels } : { ...labels }
  for (const path of paths) {
    if (path === 'labels') changed = { ...labels }
    else if (path.startsWith('labels.')) {
      const key = path.slice('labels.'.length)
      changed[key] = (Object.hasOwn(labels, key) ? labels[key] : undefined) ?? ''
    } else {
      throw invalidArgument(
        `cannot update ${JSON.stringify(path)} field on snapshot ${JSON.stringify(name)}`,
      )
    }
  }
  writeTimes(record, { createdAt: info.createdAt, updatedAt: new Date() })
  writeLabels(record, changed)
  return stored(record, name)
}

/**
 * Makes the active snapshot `key` the committed snapshot `name`; it keeps its id, not its labels.
 *
 * @throws `already_exists`; `not_found`; `failed_precondition` when it is not active;
 * `invalid_argument` when it would get another parent.
 */
export function commitActive(
  tx: Bucket,
  { name, key, usage }: { readonly name: string; readonly key: string; readonly usage: Usage },
  { labels = {}, parent = '' }: SnapshotOptions,
): string {
  const version = tx.bucket('v1')
  const snapshots = version?.bucket('snapshots')
  if (snapshots?.bucket(name)) throw alreadyExists(`committed snapshot ${name}`)
  const record = snapshots?.bucket(key)
  if (!version || !snapshots || !record) {
    throw notFound(`failed to get active snapshot ${JSON.stringify(key)}`)
  }
  const before = readInfo(record, key)
  if (before.kind !== 'active') {
    throw failedPrecondition(`snapshot ${JSON.stringify(key)} is not active`)
  }
  if (before.parent !== '' && parent !== '' && parent !== before.parent) {
    throw invalidArgument(
      `cannot change parent of active snapshot ${JSON.stringify(key)} on commit`,
    )
  }
  const id = readId(record)
  const now = new Date()
  const below = before.parent || parent
  const target = snapshots.createBucket(name)
  writeInfo(target, id, {
    name,
    kind: 'committed',
    parent: below,
    labels,
    createdAt: now,
    updatedAt: now,
  })
  writeUsage(target, usage)
  snapshots.deleteBucket(key)
  if (below !== '') relink(version, { below, id, key, name })
  return String(id)
}

/** Points the parent's link at the snapshot's new name. */
function relink(
  version: Bucket,
  child: {
    readonly below: string
    readonly id: bigint
    readonly key: string
    readonly name: string
  },
): void {
  const { below, id, key, name } = child
  const parent = version.bucket('snapshots')?.bucket(below)
  if (!parent) {
    throw notFound(`missing parent ${JSON.stringify(below)} of snapshot ${JSON.stringify(key)}`)
  }
  if (readKind(parent, below) !== 'committed') {
    throw failedPrecondition(`parent ${JSON.stringify(below)} is not committed`)
  }
  version.createBucketIfNotExists('parents').put(linkKey(readId(parent), id), name)
}

/** @throws `not_found`; `failed_precondition` while it has children. @returns what it was. */
export function removeSnapshot(tx: Bucket, key: string): StoredSnapshot {
  const version = tx.bucket('v1')
  const snapshots = version?.bucket('snapshots')
  const record = snapshots?.bucket(key)
  if (!snapshots || !record) throw notFound(`snapshot ${key}`)
  const removed = stored(record, key)
  const id = BigInt(removed.id)
  const parents = version?.bucket('parents')
  if (parents && hasChild(parents, id)) {
    throw failedPrecondition('cannot remove snapshot with child')
  }
  if (parents && removed.info.parent !== '') {
    const parent = snapshots.bucket(removed.info.parent)
    if (!parent) throw notFound(`snapshot ${key}`)
    parents.delete(linkKey(readId(parent), id))
  }
  snapshots.deleteBucket(key)
  return removed
}

/** The highest id that any snapshot has had. */
export const lastId = (tx: ReadBucket): bigint => allSnapshots(tx)?.sequence ?? 0n

/** The ids in use, with the kinds of the snapshots. */
export function usedIds(tx: ReadBucket): ReadonlyMap<string, Kind> {
  const snapshots = allSnapshots(tx)
  const ids = new Map<string, Kind>()
  for (const { key, value } of snapshots?.entries() ?? []) {
    const record = value === undefined ? snapshots?.bucket(key) : undefined
    if (record) ids.set(String(readId(record)), readKind(record, Buffer.from(key).toString()))
  }
  return ids
}

const allSnapshots = (tx: ReadBucket): ReadBucket | undefined =>
  tx.bucket('v1')?.bucket('snapshots')

const missing = (): Error => notFound('snapshot does not exist')

const stored = (record: ReadBucket, name: string): StoredSnapshot => ({
  id: String(readId(record)),
  info: readInfo(record, name),
  usage: readUsage(record),
})

/** Ids from `parent`, which must be committed, down. */
function committedChain(snapshots: ReadBucket | undefined, parent: string): readonly string[] {
  const record = snapshots?.bucket(parent)
  if (!snapshots || !record) throw notFound(`missing parent ${JSON.stringify(parent)} bucket`)
  if (readKind(record, parent) !== 'committed') {
    throw invalidArgument(`parent ${JSON.stringify(parent)} is not committed snapshot`)
  }
  return chain(snapshots, parent)
}

/** Ids from the snapshot `name` down. */
function chain(snapshots: ReadBucket, name: string): readonly string[] {
  const ids: string[] = []
  for (let next = name; next !== ''; ) {
    const record = snapshots.bucket(next)
    if (!record) throw notFound('missing parent')
    ids.push(String(readId(record)))
    next = readParent(record)
  }
  return ids
}

function hasChild(parents: ReadBucket, id: bigint): boolean {
  for (const { key } of parents.entries(linkKey(id))) return decodeUvarint(key) === id
  return false
}

/** The key of the link from a parent to a child; without child, what all its links begin with. */
export const linkKey = (parent: bigint, child?: bigint): Uint8Array =>
  Buffer.concat([
    encodeUvarint(parent),
    Buffer.of(0),
    child === undefined ? Buffer.of() : encodeUvarint(child),
  ])
