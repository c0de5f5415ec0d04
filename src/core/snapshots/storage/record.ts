import type { Labels } from '#core/labels/labels.ts'
import type { Info, Kind, Usage } from '#core/snapshots/snapshotter.ts'
import type { Bucket, ReadBucket } from '#lib/bolt/database.ts'
import { dataLoss } from '#lib/errors/errors.ts'
import { decodeTime, encodeTime, zeroTime } from '#lib/go/time.ts'
import { decodeUvarint, decodeVarint, encodeUvarint, encodeVarint } from '#lib/go/varint.ts'

/** The byte that stands for each kind. */
const kinds = { view: 1, active: 2, committed: 3 } as const satisfies Record<Kind, number>

/** The number of the snapshot: the name of its directory. */
export function readId(record: ReadBucket): bigint {
  const bytes = record.get('id')
  return bytes ? decodeUvarint(bytes) : 0n
}

/** @throws `data_loss` when the record has no kind. */
export function readKind(record: ReadBucket, name: string): Kind {
  const byte = record.get('kind')?.[0]
  for (const kind of ['view', 'active', 'committed'] as const) {
    if (kinds[kind] === byte) return kind
  }
  throw dataLoss(`snapshot ${JSON.stringify(name)} is of unknown kind ${byte}`)
}

/** Name of the snapshot below; empty for none. */
export const readParent = (record: ReadBucket): string => text(record.get('parent'))

export function readInfo(record: ReadBucket, name: string): Info {
  return {
    name,
    kind: readKind(record, name),
    parent: readParent(record),
    labels: readLabels(record),
    createdAt: readTime(record, 'createdat'),
    updatedAt: readTime(record, 'updatedat'),
  }
}

/** What a committed snapshot used when it was committed. */
export const readUsage = (record: ReadBucket): Usage => ({
  inodes: readVarint(record, 'inodes'),
  size: readVarint(record, 'size'),
})

export function writeInfo(record: Bucket, id: bigint, info: Info): void {
  record.put('id', encodeUvarint(id))
  record.put('kind', Uint8Array.of(kinds[info.kind]))
  if (info.parent !== '') record.put('parent', info.parent)
  writeTimes(record, info)
  writeLabels(record, info.labels)
}

export function writeTimes(record: Bucket, info: Pick<Info, 'createdAt' | 'updatedAt'>): void {
  record.put('createdat', encodeTime(info.createdAt))
  record.put('updatedat', encodeTime(info.updatedAt))
}

/** Replaces all labels; those with an empty value are left out. */
export function writeLabels(record: Bucket, labels: Labels): void {
  if (record.bucket('labels')) record.deleteBucket('labels')
  const entries = Object.entries(labels)
  if (entries.length === 0) return
  const bucket = record.createBucket('labels')
  for (const [key, value] of entries) if (value !== '') bucket.put(key, value)
}

export function writeUsage(record: Bucket, usage: Usage): void {
  record.put('inodes', encodeVarint(usage.inodes))
  record.put('size', encodeVarint(usage.size))
}

function readLabels(record: ReadBucket): Labels {
  const entries = record.bucket('labels')?.entries() ?? []
  return Object.fromEntries(Array.from(entries, ({ key, value }) => [text(key), text(value)]))
}

function readTime(record: ReadBucket, key: string): Date {
  const bytes = record.get(key)
  return bytes ? decodeTime(bytes) : zeroTime
}

function readVarint(record: ReadBucket, key: string): number {
  const bytes = record.get(key)
  return bytes ? Number(decodeVarint(bytes)) : 0
}

const decoder = new TextDecoder()
const text = (bytes: Uint8Array | undefined): string => decoder.decode(bytes)
