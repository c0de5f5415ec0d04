import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire'

import type { Any } from '#core/any/any.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { Bucket, ReadBucket } from '#lib/bolt/database.ts'
import { decodeTime, encodeTime, zeroTime } from '#lib/go/time.ts'
import { decodeVarint, encodeVarint } from '#lib/go/varint.ts'

import { decodeText } from './schema.ts'

/** The text of `key`; empty when it is not there. */
export function readText(bucket: ReadBucket, key: string): string {
  const bytes = bucket.get(key)
  return bytes ? decodeText(bytes) : ''
}

/** The time of `key`; Go's zero time when it is not there. */
export function readTime(bucket: ReadBucket, key: string): Date {
  const bytes = bucket.get(key)
  return bytes ? decodeTime(bytes) : zeroTime
}

export function writeTime(bucket: Bucket, key: string, time: Date): void {
  bucket.put(key, encodeTime(time))
}

/** When a record was made and last changed. */
export interface Times {
  readonly createdAt: Date
  readonly updatedAt: Date
}

export function readTimes(bucket: ReadBucket): Times {
  return { createdAt: readTime(bucket, 'createdat'), updatedAt: readTime(bucket, 'updatedat') }
}

export function writeTimes(bucket: Bucket, times: Times): void {
  writeTime(bucket, 'createdat', times.createdAt)
  writeTime(bucket, 'updatedat', times.updatedAt)
}

export function readSize(bucket: ReadBucket): number {
  const bytes = bucket.get('size')
  return bytes && bytes.length > 0 ? Number(decodeVarint(bytes)) : 0
}

export function writeSize(bucket: Bucket, size: number): void {
  bucket.put('size', encodeVarint(size))
}

export const readLabels = (bucket: ReadBucket): Labels => readMap(bucket, 'labels')

/** Replaces the labels; those with an empty value are left out. */
export const writeLabels = (bucket: Bucket, labels: Labels): void =>
  writeMap(bucket, 'labels', labels)

export function readMap(bucket: ReadBucket, name: string): Labels {
  const pairs: [string, string][] = []
  for (const { key, value } of bucket.bucket(name)?.entries() ?? []) {
    if (value) pairs.push([decodeText(key), decodeText(value)])
  }
  // Not by assignment: a key may be `__proto__`.
  return Object.fromEntries(pairs)
}

export function writeMap(bucket: Bucket, name: string, map: Labels): void {
  if (bucket.bucket(name)) bucket.deleteBucket(name)
  if (Object.keys(map).length === 0) return
  const inner = bucket.createBucket(name)
  for (const [key, value] of Object.entries(map)) if (value !== '') inner.put(key, value)
}

const typeUrlField = 1
const valueField = 2

/** The `google.protobuf.Any` of `key`; undefined when it is not there. */
export function readAny(bucket: ReadBucket, key: string): Any | undefined {
  const bytes = bucket.get(key)
  return bytes ? decodeAny(bytes) : undefined
}

export function decodeAny(bytes: Uint8Array): Any {
  const reader = new BinaryReader(bytes)
  let typeUrl = ''
  let value = new Uint8Array()
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag()
    if (field === typeUrlField && wireType === WireType.LengthDelimited) typeUrl = reader.string()
    // What the database hands out dies with the transaction: copy.
    else if (field === valueField && wireType === WireType.LengthDelimited) {
      value = Uint8Array.from(reader.bytes())
    } else reader.skip(wireType, field)
  }
  return { typeUrl, value }
}

export function writeAny(bucket: Bucket, key: string, any: Any | undefined): void {
  if (any) bucket.put(key, encodeAny(any))
}

export function encodeAny(any: Any): Uint8Array {
  const writer = new BinaryWriter()
  if (any.typeUrl !== '') writer.tag(typeUrlField, WireType.LengthDelimited).string(any.typeUrl)
  if (any.value.length > 0) writer.tag(valueField, WireType.LengthDelimited).bytes(any.value)
  return writer.finish()
}

/** Stands for an extension that a field mask names and the update does not have. */
export const emptyAny: Any = { typeUrl: '', value: new Uint8Array() }

export function readExtensions(bucket: ReadBucket): Readonly<Record<string, Any>> {
  const extensions: [string, Any][] = []
  for (const { key, value } of bucket.bucket('extensions')?.entries() ?? []) {
    if (value) extensions.push([decodeText(key), decodeAny(value)])
  }
  return Object.fromEntries(extensions)
}

/** Adds extensions to those that are there. */
export function writeExtensions(bucket: Bucket, extensions: Readonly<Record<string, Any>>): void {
  for (const [name, any] of Object.entries(extensions)) {
    bucket.createBucketIfNotExists('extensions').put(name, encodeAny(any))
  }
}
