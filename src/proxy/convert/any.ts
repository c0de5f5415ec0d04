import type { Any as AnyMessage } from '@bufbuild/protobuf/wkt'

import type { Any } from '#core/any/any.ts'

/** The value in a message, if there is one. */
export const anyFromProto = (any: AnyMessage | undefined): Any | undefined =>
  any && { typeUrl: any.typeUrl, value: any.value }

/** The value in a message; an empty one when it is missing. */
export const anyOrEmpty = (any: AnyMessage | undefined): Any =>
  anyFromProto(any) ?? { typeUrl: '', value: new Uint8Array() }

/** The values of a map, by the same keys. */
export const anysFromProto = (
  anys: Readonly<Record<string, AnyMessage>>,
): Readonly<Record<string, Any>> =>
  Object.fromEntries(
    Object.entries(anys).map(([key, { typeUrl, value }]) => [key, { typeUrl, value }]),
  )
