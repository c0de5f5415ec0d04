import { type DescField, fromBinary, isMessage } from '@bufbuild/protobuf'
import { type ReflectMessage, reflect } from '@bufbuild/protobuf/reflect'
import { AnySchema } from '@bufbuild/protobuf/wkt'

import type { Any } from '#core/any/any.ts'
import type { Envelope } from '#core/events/events.ts'
import { eventTypes } from '#proxy/convert/event-types.ts'

/*
 * What filters can ask of an event: `namespace`, `topic`, and `event.<field>` of its payload, where
 * fields have their protobuf names. Only text, bool, label maps and messages of these can be asked
 * for; an empty text counts as absent. Source: upstream `core/events`, `api/events/*_fieldpath.pb.go`.
 */

/** The fields of `envelope`, for a filter. The payload is decoded once, when it is first asked for. */
export function fieldsOf(envelope: Envelope): (path: readonly string[]) => string | undefined {
  let payload: ReflectMessage | null | undefined
  return ([first, ...rest]) => {
    if (first === 'namespace') return envelope.namespace || undefined
    if (first === 'topic') return envelope.topic || undefined
    if (first !== 'event') return undefined
    payload ??= decode(envelope.event) ?? null
    return payload === null ? undefined : field(payload, rest)
  }
}

function decode({ typeUrl, value }: Any): ReflectMessage | undefined {
  const schema = eventTypes().getMessage(typeUrl.slice(typeUrl.lastIndexOf('/') + 1))
  if (!schema) return undefined
  try {
    return reflect(schema, fromBinary(schema, value))
  } catch {
    // A payload that does not decode has no fields, and matches no filter that asks for one.
    return undefined
  }
}

function field(message: ReflectMessage, path: readonly string[]): string | undefined {
  const [name, ...rest] = path
  const found = message.fields.find((candidate) => candidate.name === name)
  if (!found) return undefined
  if (found.fieldKind === 'scalar') return scalar(message.get(found))
  if (found.fieldKind === 'map') return entry(message, found, rest.join('.'))
  if (found.fieldKind !== 'message' || !message.isSet(found)) return undefined
  return nested(message.get(found), rest)
}

function scalar(value: unknown): string | undefined {
  if (typeof value === 'string') return value || undefined
  return typeof value === 'boolean' ? String(value) : undefined
}

function entry(
  message: ReflectMessage,
  map: DescField & { fieldKind: 'map' },
  key: string,
): string | undefined {
  const value = message.get(map).get(key)
  return typeof value === 'string' ? value : undefined
}

function nested(reflected: ReflectMessage, path: readonly string[]): string | undefined {
  const { message } = reflected
  if (!isMessage(message, AnySchema)) return field(reflected, path)
  const inside = decode(message)
  return inside && field(inside, path)
}
