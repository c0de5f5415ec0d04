/**
 * What the mount manager remembers, in `mounts.db`. Source: upstream `core/mount/manager/buckets.go`.
 *
 *     v1/                                    its sequence numbers the activations
 *     └─ <namespace>/
 *        ├─ mounts/<name>/
 *        │  ├─ id                            uvarint; in decimal, the name of its directory
 *        │  ├─ createdat, updatedat          Go's binary time
 *        │  ├─ lease                         id of the lease that holds it, if one does
 *        │  ├─ active/<n>/                   n is one byte; missing until the activation is whole
 *        │  │  ├─ mat                        mounted at, Go's binary time
 *        │  │  ├─ mp                         where it is
 *        │  │  └─ type, source, target, options
 *        │  ├─ system/<n>/                   type, source, target, options
 *        │  └─ labels/<key>
 *        └─ leases/<lease>/<name>            empty
 *
 * Options are joined by NUL. containerd leaves source, target and options of active mounts out.
 */
import type { Activation, ActiveMount } from '#core/mount/manager.ts'
import type { Mount } from '#core/mount/mount.ts'
import {
  readLabels,
  readText,
  readTime,
  readTimes,
  writeLabels,
  writeTime,
  writeTimes,
} from '#core/metadata/fields.ts'
import { buckets, find, isEmpty, make } from '#core/metadata/schema.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { Bucket, ReadBucket } from '#lib/bolt/database.ts'
import { alreadyExists, internal, notFound } from '#lib/errors/errors.ts'
import { decodeUvarint, encodeUvarint } from '#lib/go/varint.ts'

/** Names an activation. */
export interface Key {
  readonly ns: string
  readonly name: string
}

/** A key as one text. */
export const idOf = ({ ns, name }: Key): string => `${ns}/${name}`

/** An activation as it is stored. */
export interface StoredActivation extends Activation, Key {
  /** In decimal, the name of its directory. */
  readonly id: string
  readonly lease: string
  /** False for one that a daemon was killed in. */
  readonly whole: boolean
}

const version = 'v1'
const mountsOf = (ns: string): string[] => [version, ns, 'mounts']
const leasesOf = (ns: string): string[] => [version, ns, 'leases']

/** @throws `not_found`. */
export function readRecord(tx: ReadBucket, key: Key): StoredActivation {
  const found = findRecord(tx, key)
  if (!found) throw missing(key.name)
  return found
}

export function findRecord(tx: ReadBucket, { ns, name }: Key): StoredActivation | undefined {
  const record = find(tx, [...mountsOf(ns), name])
  return record && decode(record, { ns, name })
}

/** All of a namespace, or of all of them. */
export function* listRecords(tx: ReadBucket, only?: string): Generator<StoredActivation> {
  for (const [ns] of buckets(find(tx, [version]))) {
    if (only !== undefined && ns !== only) continue
    for (const [name, record] of buckets(find(tx, mountsOf(ns)))) yield decode(record, { ns, name })
  }
}

/** The names that a lease holds. */
export function* leasedNames(tx: ReadBucket, ns: string, lease: string): Generator<string> {
  for (const { key } of find(tx, [...leasesOf(ns), lease])?.entries() ?? []) {
    yield Buffer.from(key).toString()
  }
}

/**
 * Makes the record of an activation that begins. @returns its id.
 *
 * @throws `already_exists`.
 */
export function createRecord(
  tx: Bucket,
  { ns, name }: Key,
  { labels, lease }: { readonly labels: Labels; readonly lease: string | undefined },
): string {
  const root = make(tx, [version])
  const mounts = make(tx, mountsOf(ns))
  if (mounts.bucket(name)) throw alreadyExists(`mount ${JSON.stringify(name)}`)
  const record = mounts.createBucket(name)
  const id = root.nextSequence()
  record.put('id', encodeUvarint(id))
  writeLabels(record, labels)
  const now = new Date()
  writeTimes(record, { createdAt: now, updatedAt: now })
  if (lease) {
    record.put('lease', lease)
    make(tx, [...leasesOf(ns), lease]).put(name, '')
  }
  return String(id)
}

/** Writes down what came of an activation: it is whole. */
export function completeRecord(
  tx: Bucket,
  { ns, name }: Key,
  { active, system }: Pick<Activation, 'active' | 'system'>,
): StoredActivation {
  const record = find(tx, [...mountsOf(ns), name])
  if (!record) throw internal(`the record of mount ${JSON.stringify(name)} is gone`)
  const done = record.createBucket('active')
  for (const [at, mount] of active.entries()) {
    const one = done.createBucket(Uint8Array.of(at))
    writeMount(one, mount)
    one.put('mp', mount.mountPoint)
    writeTime(one, 'mat', mount.mountedAt)
  }
  const left = system.length > 0 ? record.createBucket('system') : undefined
  for (const [at, mount] of system.entries()) {
    if (left) writeMount(left.createBucket(Uint8Array.of(at)), mount)
  }
  writeTimes(record, { ...readTimes(record), updatedAt: new Date() })
  return decode(record, { ns, name })
}

/** @throws `not_found`. */
export function updateLabels(
  tx: Bucket,
  { ns, name }: Key,
  change: (labels: Labels) => Labels,
): StoredActivation {
  const record = find(tx, [...mountsOf(ns), name])
  if (!record) throw missing(name)
  writeLabels(record, change(readLabels(record)))
  writeTimes(record, { ...readTimes(record), updatedAt: new Date() })
  return decode(record, { ns, name })
}

/** Nothing happens when there is none. */
export function deleteRecord(tx: Bucket, { ns, name }: Key): void {
  const mounts = find(tx, mountsOf(ns))
  const record = mounts?.bucket(name)
  if (!mounts || !record) return
  const lease = readText(record, 'lease')
  const held = find(tx, [...leasesOf(ns), lease])
  held?.delete(name)
  if (held && isEmpty(held)) find(tx, leasesOf(ns))?.deleteBucket(lease)
  mounts.deleteBucket(name)
}

function decode(record: ReadBucket, { ns, name }: Key): StoredActivation {
  const active = record.bucket('active')
  return {
    ns,
    name,
    id: String(decodeUvarint(record.get('id') ?? Uint8Array.of(0))),
    lease: readText(record, 'lease'),
    whole: active !== undefined,
    active: mountsIn(active).map(
      ([mount, bucket]): ActiveMount => ({
        ...mount,
        mountedAt: readTime(bucket, 'mat'),
        mountPoint: readText(bucket, 'mp'),
      }),
    ),
    system: mountsIn(record.bucket('system')).map(([mount]) => mount),
    labels: readLabels(record),
  }
}

const mountsIn = (bucket: ReadBucket | undefined): readonly (readonly [Mount, ReadBucket])[] =>
  Array.from(bucket?.buckets() ?? [], ([, one]) => [readMount(one), one])

function writeMount(bucket: Bucket, { type, source, target = '', options }: Mount): void {
  bucket.put('type', type)
  bucket.put('source', source)
  bucket.put('target', target)
  if (options.length > 0) bucket.put('options', options.join('\0'))
}

function readMount(bucket: ReadBucket): Mount {
  const options = readText(bucket, 'options')
  const target = readText(bucket, 'target')
  return {
    type: readText(bucket, 'type'),
    source: readText(bucket, 'source'),
    ...(target && { target }),
    options: options === '' ? [] : options.split('\0'),
  }
}

const missing = (name: string): Error => notFound(`mount ${JSON.stringify(name)}`)
