/*
 * A service with a method of every kind, made at run time so that it needs no generated code:
 *
 *   service Test {
 *     rpc Unary(BytesValue) returns (BytesValue);
 *     rpc Expand(BytesValue) returns (stream BytesValue);
 *     rpc Collect(stream BytesValue) returns (BytesValue);
 *     rpc Chat(stream BytesValue) returns (stream BytesValue);
 *   }
 */
import { type DescService, create, createFileRegistry } from '@bufbuild/protobuf'
import type { GenService } from '@bufbuild/protobuf/codegenv2'
import {
  type BytesValueSchema,
  FileDescriptorProtoSchema,
  file_google_protobuf_wrappers as wrappers,
} from '@bufbuild/protobuf/wkt'

interface Kind<K extends string> {
  readonly methodKind: K
  readonly input: typeof BytesValueSchema
  readonly output: typeof BytesValueSchema
}

type TestService = GenService<{
  unary: Kind<'unary'>
  expand: Kind<'server_streaming'>
  collect: Kind<'client_streaming'>
  chat: Kind<'bidi_streaming'>
}>

const types = {
  inputType: '.google.protobuf.BytesValue',
  outputType: '.google.protobuf.BytesValue',
}

/** The service of the contract suite. */
export const Test: TestService = (() => {
  const file = create(FileDescriptorProtoSchema, {
    name: 'wharf/test.proto',
    package: 'wharf.test.v1',
    syntax: 'proto3',
    dependency: ['google/protobuf/wrappers.proto'],
    service: [
      {
        name: 'Test',
        method: [
          { name: 'Unary', ...types },
          { name: 'Expand', ...types, serverStreaming: true },
          { name: 'Collect', ...types, clientStreaming: true },
          { name: 'Chat', ...types, clientStreaming: true, serverStreaming: true },
        ],
      },
    ],
  })
  const registry = createFileRegistry(file, () => wrappers.proto)
  const service: DescService | undefined = registry.getService('wharf.test.v1.Test')
  if (!service) throw new Error('the test service is not in its own file')
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it is written above
  return service as TestService
})()

/** The same service under another name: one that no server of the suite knows. */
export const Stranger: TestService = { ...Test, typeName: 'wharf.test.v1.Stranger' }

/** A message of the service. */
export interface Value {
  readonly value: Uint8Array
}

/** A message that carries text. */
export const text = (value: string): Value => ({ value: Buffer.from(value) })

/** The text in a message. */
export const textOf = (message: Value): string => Buffer.from(message.value).toString()

/** `values` as a stream of messages. */
export const texts = (...values: readonly string[]): AsyncGenerator<Value> =>
  items(...values.map(text))

/** Every text of a stream. */
export const allTexts = async (messages: AsyncIterable<Value>): Promise<string[]> =>
  await Array.fromAsync(messages, textOf)

/** `values` as a stream. */
export async function* items<T>(...values: readonly T[]): AsyncGenerator<T> {
  for (const value of values) yield await Promise.resolve(value)
}

/** A stream of requests that never has one, and never ends. */
export const silence = (): AsyncIterable<never> => ({
  [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }),
})
