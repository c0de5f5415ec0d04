import { isDeepStrictEqual } from 'node:util'

import {
  create,
  type DescMessage,
  fromBinary,
  isFieldSet,
  isMessage,
  type Message,
} from '@bufbuild/protobuf'
import { base64Decode } from '@bufbuild/protobuf/wire'
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt'

import { revive, type Shape, type Shapes } from '#lib/release/plain.ts'

/* Descriptors in the plain form that #lib/release/plain.ts makes messages of. */

/** Only compilers have it, and its fields have no form in JSON. */
const notShaped = 'google.protobuf.UninterpretedOption'

let shapes: Shapes | undefined

/** The shapes of everything that a `FileDescriptorProto` has in it. */
export function descriptorShapes(): Shapes {
  return (shapes ??= Object.fromEntries(
    shapedTypes(FileDescriptorProtoSchema).map((schema) => [schema.typeName, shapeOf(schema)]),
  ))
}

function shapedTypes(root: DescMessage): readonly DescMessage[] {
  const types = new Set([root])
  // A set goes on to what is added to it meanwhile.
  for (const type of types) {
    for (const { message } of type.fields)
      if (message !== undefined && message.typeName !== notShaped) types.add(message)
  }
  return [...types]
}

function shapeOf(schema: DescMessage): Shape {
  const lists = schema.fields.filter(({ fieldKind }) => fieldKind === 'list')
  const messages = schema.fields.flatMap(({ localName, message }) =>
    message === undefined ? [] : [[localName, message.typeName] as const],
  )
  return {
    defaults: { ...Object.getPrototypeOf(create(schema)) },
    lists: lists.map(({ localName }) => localName),
    messages: Object.fromEntries(messages),
  }
}

/** The descriptor of a file, which generated code has in base64, as JSON of its plain form. */
export function plainFile(base64: string): string {
  const options = { readUnknownFields: false }
  const file = fromBinary(FileDescriptorProtoSchema, base64Decode(base64), options)
  const text = JSON.stringify(plainOf(FileDescriptorProtoSchema, file))
  const read = revive(descriptorShapes(), file.$typeName, JSON.parse(text))
  if (!isDeepStrictEqual(whole(read), whole(file)))
    throw new Error(`${file.name}: its descriptor has no plain form`)
  return text
}

/** The message with what its prototype says of fields that are not set. */
function whole(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(whole)
  if (typeof value !== 'object' || value === null) return value
  const fields: Record<string, unknown> = {}
  // oxlint-disable-next-line guard-for-in -- what is inherited is what is compared
  for (const field in value) fields[field] = whole(Reflect.get(value, field))
  return fields
}

function plainOf(schema: DescMessage, message: Message): object {
  const set = schema.fields.filter((field) => isFieldSet(message, field))
  return Object.fromEntries(
    set.map((field) => [
      field.localName,
      plainValue(field.message, Reflect.get(message, field.localName)),
    ]),
  )
}

function plainValue(schema: DescMessage | undefined, value: unknown): unknown {
  if (schema === undefined) return value
  if (Array.isArray(value)) return value.map((each: unknown) => plainValue(schema, each))
  return isMessage(value) ? plainOf(schema, value) : value
}
