import {
  type DescMessage,
  type DescMethod,
  type DescService,
  type Message,
  fromBinary,
} from '@bufbuild/protobuf'

import { CodedError, describe } from '#lib/errors/errors.ts'

import { encodeMessage } from './codec.ts'
import type { Call, Interceptor, RegisteredService, ServerOptions } from './rpc.ts'
import { type Status, toStatus, toStatusCode } from './status.ts'

/** Hears of every error that no coded error explains, so that a server can log its stack. */
export type UnknownErrorHook = (err: unknown, call: Call) => void

/** What both servers take beyond the contract. */
export interface DispatchOptions<C> extends ServerOptions<C> {
  readonly onUnknownError?: UnknownErrorHook
}

/** One method that can be called: its descriptor and its implementation. */
export interface Endpoint {
  readonly service: DescService
  readonly method: DescMethod
  readonly run: (input: unknown, ctx: unknown) => unknown
}

/** Finds and runs the methods of a server, bytes in and bytes out; knows nothing of transports. */
export interface Dispatcher {
  /** The method at `path`, which is `/package.Service/Method`, if it is implemented. */
  find(path: string): Endpoint | undefined
  /** What a call of `method` is told when it cannot be found, in grpc-go's words. */
  unknown(service: string, method: string): string
  /**
   * Runs a unary call, with no detour through async iterables, nor through promises if the method
   * answers without: most calls are unary.
   * @throws whatever the method throws, or `internal` for bytes that do not decode; some of it as
   *   a rejection.
   */
  unary(endpoint: Endpoint, call: Call, request: Uint8Array): Uint8Array | Promise<Uint8Array>
  /** Runs a client-streaming call. @throws as `unary` does. */
  collect(endpoint: Endpoint, call: Call, requests: AsyncIterable<Uint8Array>): Promise<Uint8Array>
  /** Runs a call that answers a stream: `requests` are bytes (server streaming) or many (bidi). */
  stream(
    endpoint: Endpoint,
    call: Call,
    requests: Uint8Array | AsyncIterable<Uint8Array>,
  ): AsyncIterable<Uint8Array>
  /** The status of a call that failed; tells the hook about errors nobody classified. */
  failed(err: unknown, call: Call): Status
}

/** The dispatcher of a server: `C` is forgotten here, so transports need not carry it. */
export const createDispatcher = <C>(options: DispatchOptions<C>): Dispatcher =>
  new ServiceDispatcher(options)

class ServiceDispatcher<C> implements Dispatcher {
  readonly #endpoints = new Map<string, Endpoint>()
  /** By name; their methods become endpoints when the first one is called. */
  readonly #services = new Map<string, RegisteredService<C>[]>()
  readonly #opened = new Set<string>()
  readonly #options: DispatchOptions<C>
  readonly #interceptors: readonly Interceptor<C>[]

  constructor(options: DispatchOptions<C>) {
    this.#options = options
    this.#interceptors = options.interceptors ?? []
    for (const registered of options.services) {
      const { typeName } = registered.service
      this.#services.getOrInsertComputed(typeName, () => []).push(registered)
    }
  }

  find(path: string): Endpoint | undefined {
    const known = this.#endpoints.get(path)
    if (known) return known
    this.#open(path.slice(1, path.lastIndexOf('/')))
    return this.#endpoints.get(path)
  }

  unknown(service: string, method: string): string {
    if (this.#services.has(service)) return `unknown method ${method} for service ${service}`
    const why = this.#options.whyAbsent?.(service)
    return `unknown service ${service}${why === undefined ? '' : `: ${why}`}`
  }

  unary(endpoint: Endpoint, call: Call, request: Uint8Array): Uint8Array | Promise<Uint8Array> {
    const { input, output } = endpoint.method
    const reply = this.#invoke(endpoint, call, decode(input, request, call))
    if (!(reply instanceof Promise)) return encode(output, reply, call)
    return reply.then((message: unknown) => encode(output, message, call))
  }

  async collect(
    endpoint: Endpoint,
    call: Call,
    requests: AsyncIterable<Uint8Array>,
  ): Promise<Uint8Array> {
    const input = decodeEach(endpoint.method.input, requests, call)
    return encode(endpoint.method.output, await this.#invoke(endpoint, call, input), call)
  }

  async *stream(
    endpoint: Endpoint,
    call: Call,
    requests: Uint8Array | AsyncIterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const { input, output } = endpoint.method
    const given =
      requests instanceof Uint8Array
        ? decode(input, requests, call)
        : decodeEach(input, requests, call)
    const replies = await this.#invoke(endpoint, call, given)
    if (!isAsyncIterable(replies)) {
      throw new CodedError('internal', `method ${endpoint.method.name} did not give a stream`)
    }
    for await (const reply of replies) yield encode(output, reply, call)
  }

  failed(err: unknown, call: Call): Status {
    const status = toStatus(err)
    if (status.code === toStatusCode('unknown')) this.#options.onUnknownError?.(err, call)
    return status
  }

  /** Descriptors of methods may not be read before: see #lib/release/late.ts. */
  #open(typeName: string): void {
    if (this.#opened.has(typeName)) return
    for (const { service, impl } of this.#services.get(typeName) ?? []) {
      this.#opened.add(typeName)
      for (const method of service.methods) this.#register(service, method, impl)
    }
  }

  #register(
    service: DescService,
    method: DescMethod,
    impl: Readonly<Record<string, unknown>>,
  ): void {
    const run = impl[method.localName]
    if (typeof run !== 'function') return
    this.#endpoints.set(`/${service.typeName}/${method.name}`, {
      service,
      method,
      run: (input, ctx) => run.call(impl, input, ctx) as unknown,
    })
  }

  #invoke(endpoint: Endpoint, call: Call, input: unknown): unknown {
    const ctx = this.#options.context(call)
    if (this.#interceptors.length === 0) return endpoint.run(input, ctx)
    return this.#intercepted(endpoint, call, input, ctx, 0)
  }

  #intercepted(endpoint: Endpoint, call: Call, input: unknown, ctx: C, index: number): unknown {
    const interceptor = this.#interceptors[index]
    if (!interceptor) return endpoint.run(input, ctx)
    return interceptor(
      call,
      ctx,
      (next, other = input) => this.#intercepted(endpoint, call, other, next, index + 1),
      input,
    )
  }
}

function decode(schema: DescMessage, bytes: Uint8Array, call: Call): Message {
  try {
    return fromBinary(schema, bytes)
  } catch (err) {
    const message = `${call.transport}: error unmarshalling request: ${describe(err)}`
    throw new CodedError('internal', message, { cause: err })
  }
}

function encode(schema: DescMessage, reply: unknown, call: Call): Uint8Array {
  try {
    return encodeMessage(schema, reply)
  } catch (err) {
    const message = `${call.transport}: error while marshaling: ${describe(err)}`
    throw new CodedError('internal', message, { cause: err })
  }
}

async function* decodeEach(
  schema: DescMessage,
  requests: AsyncIterable<Uint8Array>,
  call: Call,
): AsyncGenerator<Message, void, undefined> {
  for await (const bytes of requests) yield decode(schema, bytes, call)
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value
}
