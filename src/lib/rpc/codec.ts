import { type DescMessage, create, toBinary } from '@bufbuild/protobuf'

/** What is given again and again, with its bytes as soon as it has been given once. */
const repeated = new WeakMap<object, Uint8Array | undefined>()

/** Says that `reply`, which nobody changes, is given more than once: it is encoded the first time. */
export function repeatedly<T extends object>(reply: T): T {
  repeated.set(reply, undefined)
  return reply
}

const wire = Symbol('bytes on the wire')

/** Says that the bytes of `reply` are there already. It goes with the object: nothing is kept here. */
export const encodedAs = <T extends object>(reply: T, bytes: Uint8Array): T =>
  Object.assign(reply, { [wire]: bytes })

const lenders = new WeakMap<Uint8Array, () => void>()

/** Says that `bytes`, of a message, are wanted back: a transport may call `back` when they have left. */
export function lend(bytes: Uint8Array, back: () => void): void {
  lenders.set(bytes, back)
}

/** What to call when `bytes` have left, if they are wanted back. */
export const lenderOf = (bytes: Uint8Array): (() => void) | undefined => lenders.get(bytes)

/** The bytes of a message, given as a message or as what `create` makes one from. */
export function encodeMessage(schema: DescMessage, init: unknown): Uint8Array {
  if (typeof init !== 'object' || init === null) return encode(schema, init)
  if (wire in init && init[wire] instanceof Uint8Array) return init[wire]
  if (!repeated.has(init)) return encode(schema, init)
  const bytes = repeated.get(init) ?? encode(schema, init)
  repeated.set(init, bytes)
  return bytes
}

function encode(schema: DescMessage, init: unknown): Uint8Array {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- `implement` and `ServiceClient` have checked it
  return toBinary(schema, create(schema, init as never))
}
