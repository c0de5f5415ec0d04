import {
  type DescMessage,
  type MessageInitShape,
  type MessageShape,
  create,
  fromBinary,
  toBinary,
} from '@bufbuild/protobuf'

import type { Any } from '#core/any/any.ts'
import { describe, invalidArgument } from '#lib/errors/errors.ts'

/** A message as a value of unknown type, named by its bare type URL as containerd names it. */
export const pack = <S extends DescMessage>(schema: S, init: MessageInitShape<S>): Any => ({
  typeUrl: schema.typeName,
  value: toBinary(schema, create(schema, init)),
})

/** Whether `any` holds a message of `schema`; a host before the type's name does not matter. */
export const holds = (any: Any, schema: DescMessage): boolean =>
  any.typeUrl.slice(any.typeUrl.lastIndexOf('/') + 1) === schema.typeName

/** The message in `any`, whose type the caller knows. @throws `invalid_argument` for other bytes. */
export function unpack<S extends DescMessage>(schema: S, any: Any): MessageShape<S> {
  try {
    return fromBinary(schema, any.value)
  } catch (err) {
    throw invalidArgument(`cannot read ${schema.typeName}: ${describe(err)}`, { cause: err })
  }
}
