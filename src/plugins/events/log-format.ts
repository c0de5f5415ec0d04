import { randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'

import { create, fromBinary, toBinary } from '@bufbuild/protobuf'

import type { Envelope } from '#core/events/events.ts'
import { EnvelopeSchema } from '#gen/types/event_pb.ts'
import { envelopeFromProto, envelopeToProto } from '#proxy/convert/envelope.ts'

/*
 * The log of events on disk: `events.log`, and `events.log.1`, which was it before.
 *
 *     file    ┌────────────┬────────┬────────┬─ ─
 *             │ "WHARFEV1" │ record │ record │        the first record is a life
 *             └────────────┴────────┴────────┴─ ─
 *     record  ┌─────────────┬────────────┬───────────┬──────────────┐
 *             │ length: u32 │ crc32: u32 │ kind: u8  │ …            │   crc of kind and what follows;
 *             └─────────────┴────────────┴───────────┴──────────────┘   length of that
 *     kind 0, life   ┌───────────┬─────────────┐
 *                    │ id: 8 B   │ number: u64 │    who writes from here on, and the number of the
 *                    └───────────┴─────────────┘    event that comes next
 *     kind 1, event  ┌──────────────────────────────┐
 *                    │ containerd.types.Envelope    │   its number is one more than the last one's
 *                    └──────────────────────────────┘
 *
 * Numbers are little endian. Records are appended and never changed; nothing is flushed for them, so
 * they survive a kill -9 of the daemon and not always a power cut. The first record that is cut short
 * or does not have its checksum is the end of the file. A life is one run of a daemon. The first half
 * of its id is the log's own, made with its first file; the second half is random. Since cursors hold
 * the id of a life, one whose event was lost in a power cut is told from that of the event that got
 * its number afterwards.
 */

export const magic: Buffer = Buffer.from('WHARFEV1')

const headLength = 8
const [lifeKind, eventKind] = [0, 1]

/** One run of a daemon, from the event `first` on. */
export interface Life {
  /** 16 hexadecimal digits; lives of one log share the first eight. */
  readonly id: string
  readonly first: number
}

/** The id of a life that goes on with a log, or begins one. */
export const newLifeId = (earlier?: string): string =>
  (earlier?.slice(0, 8) ?? randomBytes(4).toString('hex')) + randomBytes(4).toString('hex')

/** An event as a record. */
export function eventRecord(envelope: Envelope): Uint8Array {
  const message = toBinary(EnvelopeSchema, create(EnvelopeSchema, envelopeToProto(envelope)))
  const record = recordOf(eventKind, message.length)
  record.set(message, headLength + 1)
  return sealed(record)
}

/** The event in a record, which it does not refer to. */
export const decodeEvent = (record: Uint8Array): Envelope =>
  envelopeFromProto(fromBinary(EnvelopeSchema, new Uint8Array(record.subarray(headLength + 1))))

/** A life as a record. */
export function lifeRecord({ id, first }: Life): Uint8Array {
  const record = recordOf(lifeKind, 16)
  record.set(Buffer.from(id, 'hex'), headLength + 1)
  record.writeBigUInt64LE(BigInt(first), headLength + 9)
  return sealed(record)
}

/** What a file holds, as far as it is whole. */
export interface Scanned {
  readonly lives: readonly Life[]
  /** The records of events from the last break in their numbers on. */
  readonly events: readonly Uint8Array[]
  /** The number of the first of them. */
  readonly first: number
  /** How many bytes of the file are good. */
  readonly length: number
}

/** Reads a file up to its first bad record; nothing when it is no such file. */
export function scan(file: Buffer): Scanned | undefined {
  if (!file.subarray(0, magic.length).equals(magic)) return undefined
  let lives: Life[] = []
  let events: Uint8Array[] = []
  let [first, at] = [0, magic.length]
  for (let record = recordAt(file, at); record; record = recordAt(file, at)) {
    const life = lifeIn(record)
    if (life && life.first !== first + events.length) [first, lives, events] = [life.first, [], []]
    if (life) lives.push(life)
    else if (lives.length === 0) return undefined
    else events.push(record)
    at += record.length
  }
  return lives.length > 0 ? { lives, events, first, length: at } : undefined
}

function recordAt(file: Buffer, at: number): Buffer | undefined {
  if (at + headLength > file.length) return undefined
  const length = file.readUInt32LE(at)
  const end = at + headLength + length
  if (length === 0 || end > file.length) return undefined
  if (file.readUInt32LE(at + 4) !== crc32(file.subarray(at + headLength, end))) return undefined
  return file.subarray(at, end)
}

function lifeIn(record: Buffer): Life | undefined {
  if (record[headLength] !== lifeKind) return undefined
  const id = record.toString('hex', headLength + 1, headLength + 9)
  return { id, first: Number(record.readBigUInt64LE(headLength + 9)) }
}

function recordOf(kind: number, length: number): Buffer {
  const record = Buffer.alloc(headLength + 1 + length)
  record.writeUInt32LE(1 + length, 0)
  record[headLength] = kind
  return record
}

function sealed(record: Buffer): Buffer {
  record.writeUInt32LE(crc32(record.subarray(headLength)), 4)
  return record
}
