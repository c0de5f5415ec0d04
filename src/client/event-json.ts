import {
  type JsonValue,
  type Registry,
  createRegistry,
  fromBinary,
  toJson,
} from '@bufbuild/protobuf'

import type { Any } from '#core/any/any.ts'
import { file_types_runc_options } from '#gen/types/runc-options_pb.ts'
import { eventTypes } from '#proxy/convert/event-types.ts'

let registry: Registry | undefined

/** Containers come with the options of their runtime. */
const knownTypes = (): Registry =>
  (registry ??= createRegistry(eventTypes(), file_types_runc_options))

/**
 * What an event is about, as JSON with the names that its protobuf has; the bytes in base64 for a type
 * that is not known here.
 */
export function eventJson({ typeUrl, value }: Any): JsonValue {
  const types = knownTypes()
  const schema = types.getMessage(typeUrl.slice(typeUrl.lastIndexOf('/') + 1))
  try {
    if (schema)
      return toJson(schema, fromBinary(schema, value), { registry: types, useProtoFieldName: true })
  } catch {
    // Bytes that are no such message, or hold one of an unknown type.
  }
  return { value: Buffer.from(value).toString('base64') }
}
