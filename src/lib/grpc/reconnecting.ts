import type { DescMethod, DescService } from '@bufbuild/protobuf'

import { raceAbort } from '#lib/async/mutex.ts'
import { CodedError, describe } from '#lib/errors/errors.ts'
import type { CallOptions, Connection, ServiceClient } from '#lib/rpc/rpc.ts'
import { toAbortReason } from '#lib/rpc/status.ts'

import { connectGrpc, type GrpcClientOptions } from './client.ts'
import { LateReplies } from './late-replies.ts'

/** How a connection that heals itself is made. */
export interface ReconnectingOptions extends Omit<GrpcClientOptions, 'signal'> {
  /** The wait after the first failure to connect, ms; 100 by default. It doubles from there. */
  readonly minBackoffMs?: number
  /** The longest wait between two attempts, ms; 3 s by default. */
  readonly maxBackoffMs?: number
  /** Keys of a call's metadata that the other side must not see. */
  readonly hidden?: readonly string[]
}

/** Why nothing is there, and until when nobody tries again. */
interface Failure {
  readonly err: unknown
  /** On the clock of `performance.now`. */
  readonly until: number
  readonly backoffMs: number
}

type Call = (request: never, options?: CallOptions) => unknown

/**
 * A connection that is made by the first call, and again by the first one after it was lost:
 *
 *     idle ── call ──► connecting ──► connected ── lost ──► idle
 *      ▲                   │ failed
 *      └── backoff over ── down      calls fail with `unavailable`
 *
 * Nothing runs in the background. Calls that were under way when it was lost have failed; they are
 * not repeated. Source of the behaviour: grpc-go without `WaitForReady`.
 */
export class ReconnectingConnection implements Connection {
  readonly #target: string
  readonly #options: ReconnectingOptions
  readonly #closed = new AbortController()
  #connecting: Promise<Connection> | undefined
  #current: Connection | undefined
  #failure: Failure | undefined

  /** Connects to nothing yet. `target` is as for `connectGrpc`. */
  constructor(target: string, options: ReconnectingOptions = {}) {
    this.#target = target
    this.#options = options
  }

  /** Aborts when it is disposed; a loss is no end. */
  get closed(): AbortSignal {
    return this.#closed.signal
  }

  client<S extends DescService>(service: S): ServiceClient<S> {
    const client: Record<string, Call> = {}
    for (const method of service.methods) client[method.localName] = this.#bind(service, method)
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- one function per method of `service`, of its kind
    return client as ServiceClient<S>
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort(new CodedError('unavailable', `connection to ${this.#target} is closed`))
    const connection = await this.#connecting?.catch(() => undefined)
    await connection?.[Symbol.asyncDispose]()
    await this.#current?.[Symbol.asyncDispose]()
  }

  #bind(service: DescService, method: DescMethod): Call {
    const call = (connection: Connection, request: unknown, options: CallOptions): unknown => {
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a client has a function per method
      const client = connection.client(service) as Readonly<Record<string, Call | undefined>>
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the caller's request, typed by `ServiceClient`
      return client[method.localName]?.(request as never, options)
    }
    const { methodKind } = method
    const replies = methodKind === 'server_streaming' || methodKind === 'bidi_streaming'
    return (request: unknown, given: CallOptions = {}) => {
      const options = { ...given, metadata: this.#shown(given.metadata ?? {}) }
      const ready = this.#ready(options.signal)
      const started = ready.then((connection) => ({ value: call(connection, request, options) }))
      return replies ? new LateReplies(started) : started.then(({ value }) => value)
    }
  }

  #shown(metadata: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
    const { hidden = [] } = this.#options
    return Object.fromEntries(Object.entries(metadata).filter(([key]) => !hidden.includes(key)))
  }

  /** The connection, which is made if there is none. @throws `unavailable` while nobody is there. */
  async #ready(signal: AbortSignal | undefined): Promise<Connection> {
    this.closed.throwIfAborted()
    if (this.#current && !this.#current.closed.aborted) return this.#current
    if (!this.#connecting) {
      if (this.#failure && performance.now() < this.#failure.until) throw this.#refusal()
      this.#connecting = this.#connect()
    }
    try {
      return await raceAbort(this.#connecting, signal)
    } catch (err) {
      throw signal?.aborted ? toAbortReason(signal.reason) : err
    }
  }

  async #connect(): Promise<Connection> {
    try {
      const connection = await connectGrpc(this.#target, { ...this.#options, signal: this.closed })
      this.#failure = undefined
      this.#current = connection
      return connection
    } catch (err) {
      this.#failure = this.#next(err)
      throw err
    } finally {
      this.#connecting = undefined
    }
  }

  /** Jitter keeps many clients of one server from coming back together. */
  #next(err: unknown): Failure {
    const { minBackoffMs = 100, maxBackoffMs = 3000 } = this.#options
    const backoffMs = this.#failure
      ? Math.min(maxBackoffMs, this.#failure.backoffMs * 2)
      : Math.min(maxBackoffMs, minBackoffMs)
    const until = performance.now() + backoffMs * (0.8 + Math.random() * 0.2)
    return { err, until, backoffMs }
  }

  #refusal(): CodedError {
    const err = this.#failure?.err
    return new CodedError('unavailable', describe(err), { cause: err })
  }
}
