/*
 * What request and response frames carry (upstream: ttrpc's request.proto, google/rpc/status.proto):
 *
 *   Request  1 service  2 method  3 payload  4 timeout_nano (int64)  5 metadata: repeated KeyValue
 *   KeyValue 1 key      2 value
 *   Response 1 status: Status     2 payload
 *   Status   1 code     2 message  3 details
 */
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire'

import type { Status } from '#lib/rpc/status.ts'

const nanosPerMs = 1e6

/** The head of a call. */
export interface Request {
  readonly service: string
  readonly method: string
  /** Undefined if the client will stream its messages: an empty message is not the same as none. */
  readonly payload?: Uint8Array | undefined
  readonly timeoutMs?: number | undefined
  readonly metadata: ReadonlyMap<string, string>
}

/** The end of a call: a status that is not success, or a message, or neither. */
export interface Response {
  readonly status?: Status | undefined
  readonly payload?: Uint8Array | undefined
}

export function encodeRequest(request: Request): Uint8Array {
  const writer = new BinaryWriter()
  writer.tag(1, WireType.LengthDelimited).string(request.service)
  writer.tag(2, WireType.LengthDelimited).string(request.method)
  if (request.payload) writer.tag(3, WireType.LengthDelimited).bytes(request.payload)
  if (request.timeoutMs !== undefined) {
    const nanos = BigInt(Math.max(1, Math.round(request.timeoutMs * nanosPerMs)))
    writer.tag(4, WireType.Varint).int64(nanos)
  }
  for (const [key, value] of request.metadata) {
    writer.tag(5, WireType.LengthDelimited).fork()
    writer.tag(1, WireType.LengthDelimited).string(key)
    writer.tag(2, WireType.LengthDelimited).string(value)
    writer.join()
  }
  return writer.finish()
}

/** @throws a plain error if `data` is not a request. */
export function decodeRequest(data: Uint8Array): Request {
  let [service, method] = ['', '']
  let payload: Uint8Array | undefined
  let timeoutMs: number | undefined
  const metadata = new Map<string, string>()
  fields(data, (reader, field, wire) => {
    if (field === 1 && wire === WireType.LengthDelimited) service = reader.string()
    else if (field === 2 && wire === WireType.LengthDelimited) method = reader.string()
    else if (field === 3 && wire === WireType.LengthDelimited) payload = reader.bytes()
    else if (field === 4 && wire === WireType.Varint) timeoutMs = toMs(BigInt(reader.int64()))
    else if (field === 5 && wire === WireType.LengthDelimited) addPair(metadata, reader.bytes())
    else return false
    return true
  })
  return { service, method, payload, timeoutMs, metadata }
}

export function encodeResponse(response: Response): Uint8Array {
  const writer = new BinaryWriter()
  if (response.status) {
    writer.tag(1, WireType.LengthDelimited).fork()
    writer.tag(1, WireType.Varint).int32(response.status.code)
    writer.tag(2, WireType.LengthDelimited).string(response.status.message)
    writer.join()
  }
  if (response.payload) writer.tag(2, WireType.LengthDelimited).bytes(response.payload)
  return writer.finish()
}

/** @throws a plain error if `data` is not a response. */
export function decodeResponse(data: Uint8Array): Response {
  let status: Status | undefined
  let payload: Uint8Array | undefined
  fields(data, (reader, field, wire) => {
    if (field === 1 && wire === WireType.LengthDelimited) status = decodeStatus(reader.bytes())
    else if (field === 2 && wire === WireType.LengthDelimited) payload = reader.bytes()
    else return false
    return true
  })
  return { status, payload }
}

function decodeStatus(data: Uint8Array): Status {
  let [code, message] = [0, '']
  fields(data, (reader, field, wire) => {
    if (field === 1 && wire === WireType.Varint) code = reader.int32()
    else if (field === 2 && wire === WireType.LengthDelimited) message = reader.string()
    else return false
    return true
  })
  return { code, message }
}

/** Keys are taken in lower case; of a repeated one the first value counts, as in Go. */
function addPair(metadata: Map<string, string>, data: Uint8Array): void {
  let [key, value] = ['', '']
  fields(data, (reader, field, wire) => {
    if (field === 1 && wire === WireType.LengthDelimited) key = reader.string().toLowerCase()
    else if (field === 2 && wire === WireType.LengthDelimited) value = reader.string()
    else return false
    return true
  })
  if (!metadata.has(key)) metadata.set(key, value)
}

/** Nanoseconds from the wire; 0 means that there is no timeout. */
const toMs = (nanos: bigint): number | undefined =>
  nanos === 0n ? undefined : Number(nanos) / nanosPerMs

type TakeField = (reader: BinaryReader, field: number, wire: WireType) => boolean

function fields(data: Uint8Array, take: TakeField): void {
  const reader = new BinaryReader(data)
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag()
    if (!take(reader, field, wire)) reader.skip(wire, field)
  }
}
