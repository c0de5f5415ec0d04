import type {
  DescMethod,
  DescMethodBiDiStreaming,
  DescMethodClientStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
  MessageInitShape,
  MessageShape,
} from '@bufbuild/protobuf'

/** Who is on the other end of a unix socket, from SO_PEERCRED; absent on TCP. */
export interface Peer {
  readonly uid: number
  readonly gid: number
  readonly pid: number
}

/**
 * One call as its server sees it, whatever transport it came over.
 *
 * `signal` aborts when the client cancels, disconnects, or its deadline passes; the reason is then
 * a `canceled` or `deadline_exceeded` CodedError.
 */
export interface Call {
  readonly signal: AbortSignal
  readonly transport: 'grpc' | 'ttrpc'
  readonly service: DescService
  readonly method: DescMethod
  /** Request metadata, keys in lower case; a repeated key has its values joined by `,`. */
  readonly metadata: ReadonlyMap<string, string>
  readonly peer?: Peer | undefined
  /** When the caller stops waiting, in ms since the epoch. */
  readonly deadline?: number | undefined
}

/** How a service implements one method. `C` is what the server makes of a `Call`. */
export type MethodImpl<M extends DescMethod, C> =
  M extends DescMethodUnary<infer I, infer O>
    ? (request: MessageShape<I>, ctx: C) => Promise<MessageInitShape<O>> | MessageInitShape<O>
    : M extends DescMethodServerStreaming<infer I, infer O>
      ? (request: MessageShape<I>, ctx: C) => AsyncIterable<MessageInitShape<O>>
      : M extends DescMethodClientStreaming<infer I, infer O>
        ? (requests: AsyncIterable<MessageShape<I>>, ctx: C) => Promise<MessageInitShape<O>>
        : M extends DescMethodBiDiStreaming<infer I, infer O>
          ? (requests: AsyncIterable<MessageShape<I>>, ctx: C) => AsyncIterable<MessageInitShape<O>>
          : never

/** The methods of a service. One that is missing answers `unimplemented`. */
export type ServiceImpl<S extends DescService, C> = {
  readonly [K in keyof S['method']]?: MethodImpl<S['method'][K], C>
}

declare const context: unique symbol

/** A service and its implementation with the type parameters forgotten, as a server holds it. */
export interface RegisteredService<C> {
  readonly service: DescService
  readonly impl: Readonly<Record<string, unknown>>
  readonly [context]?: (ctx: C) => void
}

/** Ties an implementation to its service; the compiler checks every method. */
export function implement<C, S extends DescService>(
  service: S,
  impl: ServiceImpl<S, C>,
): RegisteredService<C> {
  return { service, impl }
}

/**
 * Wraps every call of a server: logging, metrics, tracing.
 *
 * `next` runs the call and gives what the client gets: a message (unary, client streaming) or an
 * async iterable of messages. An interceptor calls it at most once. `input` is what the client sent,
 * a message or an async iterable of them; `next` runs the call with another one if it is given one.
 */
export type Interceptor<C> = (
  call: Call,
  ctx: C,
  next: (ctx: C, input?: unknown) => unknown,
  input: unknown,
) => unknown

/** What both servers, gRPC and ttrpc, are made from. */
export interface ServerOptions<C> {
  readonly services: readonly RegisteredService<C>[]
  /** Makes the context that methods receive. May throw a CodedError to refuse the call. */
  readonly context: (call: Call) => C
  /** Why a service that a client may expect is not there, to end the answer of its calls with. */
  readonly whyAbsent?: (service: string) => string | undefined
  /** Outermost first. */
  readonly interceptors?: readonly Interceptor<C>[]
  /** Bytes of one received message; larger ones are refused with `resource_exhausted`. */
  readonly maxReceiveBytes?: number
  /** Bytes of one sent message; larger ones fail with `resource_exhausted`. */
  readonly maxSendBytes?: number
}

/** Per-call options of a client. */
export interface CallOptions {
  readonly signal?: AbortSignal | undefined
  /** Sent to the server as the call's deadline, in ms from now. */
  readonly timeoutMs?: number | undefined
  readonly metadata?: Readonly<Record<string, string>> | undefined
}

/** How a client calls one method. */
export type ClientMethod<M extends DescMethod> =
  M extends DescMethodUnary<infer I, infer O>
    ? (request: MessageInitShape<I>, options?: CallOptions) => Promise<MessageShape<O>>
    : M extends DescMethodServerStreaming<infer I, infer O>
      ? (request: MessageInitShape<I>, options?: CallOptions) => AsyncIterable<MessageShape<O>>
      : M extends DescMethodClientStreaming<infer I, infer O>
        ? (
            requests: AsyncIterable<MessageInitShape<I>>,
            options?: CallOptions,
          ) => Promise<MessageShape<O>>
        : M extends DescMethodBiDiStreaming<infer I, infer O>
          ? (
              requests: AsyncIterable<MessageInitShape<I>>,
              options?: CallOptions,
            ) => AsyncIterable<MessageShape<O>>
          : never

/** Every method of a service, callable. */
export type ServiceClient<S extends DescService> = {
  readonly [K in keyof S['method']]: ClientMethod<S['method'][K]>
}

/** A connection that can call any service: gRPC or ttrpc, the caller need not know. */
export interface Connection extends AsyncDisposable {
  /** A typed client for `service` over this connection; cheap, keeps no state of its own. */
  client<S extends DescService>(service: S): ServiceClient<S>
  /** Aborts when the connection is gone, with the reason. */
  readonly closed: AbortSignal
}
