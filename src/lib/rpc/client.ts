import {
  type DescMessage,
  type DescMethod,
  type DescService,
  type Message,
  fromBinary,
} from '@bufbuild/protobuf'

import { CodedError, describe } from '#lib/errors/errors.ts'

import { encodeMessage } from './codec.ts'
import type { CallOptions, ServiceClient } from './rpc.ts'

/** What a transport offers to its clients: calls in bytes. */
export interface Caller {
  /** One message there, one back. @throws the status of the call. */
  unary(
    service: DescService,
    method: DescMethod,
    request: Uint8Array,
    options: CallOptions,
  ): Promise<Uint8Array>
  /**
   * A call with a stream in one or both directions. It starts now, not at the first `next`;
   * `return` cancels it. `requests` is a single message if the method does not stream them.
   */
  stream(
    service: DescService,
    method: DescMethod,
    requests: Uint8Array | AsyncIterable<Uint8Array>,
    options: CallOptions,
  ): AsyncIterableIterator<Uint8Array>
}

type AnyMethod = (request: never, options?: CallOptions) => unknown

/** The typed client of `service` over a transport. */
export function createClient<S extends DescService>(service: S, caller: Caller): ServiceClient<S> {
  const client: Record<string, AnyMethod> = {}
  for (const method of service.methods) client[method.localName] = bind(service, method, caller)
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- one function per method of `service`, of its kind
  return client as ServiceClient<S>
}

function bind(service: DescService, method: DescMethod, caller: Caller): AnyMethod {
  const { input, output } = method
  if (method.methodKind === 'unary') {
    return async (request: unknown, options: CallOptions = {}) =>
      decode(output, await caller.unary(service, method, encodeMessage(input, request), options))
  }
  if (method.methodKind === 'server_streaming') {
    return (request: unknown, options: CallOptions = {}) =>
      new Replies(output, caller.stream(service, method, encodeMessage(input, request), options))
  }
  const start = (requests: AsyncIterable<unknown>, options: CallOptions = {}): Replies =>
    new Replies(output, caller.stream(service, method, encodeEach(input, requests), options))
  if (method.methodKind === 'bidi_streaming') return start
  return async (requests: AsyncIterable<unknown>, options?: CallOptions) =>
    await only(start(requests, options))
}

/** Decodes what it passes on; not a generator, whose `return` before `next` would cancel nothing. */
class Replies implements AsyncIterableIterator<Message> {
  readonly #schema: DescMessage
  readonly #bytes: AsyncIterableIterator<Uint8Array>

  constructor(schema: DescMessage, bytes: AsyncIterableIterator<Uint8Array>) {
    this.#schema = schema
    this.#bytes = bytes
  }

  async next(): Promise<IteratorResult<Message>> {
    const result = await this.#bytes.next()
    if (result.done) return { done: true, value: undefined }
    return { done: false, value: decode(this.#schema, result.value) }
  }

  async return(): Promise<IteratorResult<Message>> {
    await this.#bytes.return?.()
    return { done: true, value: undefined }
  }

  [Symbol.asyncIterator](): this {
    return this
  }
}

async function only(replies: Replies): Promise<Message> {
  const first = await replies.next()
  if (first.done) throw new CodedError('internal', 'server returned no message')
  const second = await replies.next()
  if (second.done) return first.value
  await replies.return()
  throw new CodedError('internal', 'server returned more than one message')
}

async function* encodeEach(
  schema: DescMessage,
  requests: AsyncIterable<unknown>,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const request of requests) yield encodeMessage(schema, request)
}

function decode(schema: DescMessage, bytes: Uint8Array): Message {
  try {
    return fromBinary(schema, bytes)
  } catch (err) {
    throw new CodedError('internal', `cannot read the reply: ${describe(err)}`, { cause: err })
  }
}
