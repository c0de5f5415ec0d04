import { type DescMessage, create, toBinary } from '@bufbuild/protobuf'

/** The bytes of a message, given as a message or as what `create` makes one from. */
export function encodeMessage(schema: DescMessage, init: unknown): Uint8Array {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- `implement` and `ServiceClient` have checked it
  return toBinary(schema, create(schema, init as never))
}
