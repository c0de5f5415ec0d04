import type { DescMethod, DescService } from '@bufbuild/protobuf'

import { isAsyncIterable } from '#lib/async/is-async-iterable.ts'
import {
  type Count,
  Counter,
  type Distribution,
  type Family,
  Histogram,
  type MetricSet,
} from '#lib/metrics/metrics.ts'
import type { Call, RegisteredService } from '#lib/rpc/rpc.ts'
import { statusName, statusNumbers, toStatus, toStatusCode } from '#lib/rpc/status.ts'
import type { CallObserver } from '#plugins/types.ts'

/** The numbers of one method. */
interface MethodNumbers {
  readonly started: Count
  readonly received: Count
  readonly sent: Count
  /** By status number. */
  readonly handled: Count[]
  readonly took: () => Distribution
}

const types = {
  unary: 'unary',
  client_streaming: 'client_stream',
  server_streaming: 'server_stream',
  bidi_streaming: 'bidi_stream',
} as const

const labels = ['grpc_type', 'grpc_service', 'grpc_method']
const ok = 0
const canceled = toStatusCode('canceled')

/**
 * Counts the calls of the gRPC servers, by the names that dashboards of gRPC know.
 *
 * Every method is there with zeros from the beginning, so that a rate has something to start from.
 * Source: https://github.com/grpc-ecosystem/go-grpc-middleware/tree/main/providers/prometheus
 */
export class GrpcMetrics implements CallObserver, AsyncDisposable {
  readonly #started = new Counter({
    name: 'grpc_server_started_total',
    help: 'Total number of RPCs started on the server.',
    labels,
  })
  readonly #handled = new Counter({
    name: 'grpc_server_handled_total',
    help: 'Total number of RPCs completed on the server, regardless of success or failure.',
    labels: [...labels, 'grpc_code'],
  })
  readonly #received = new Counter({
    name: 'grpc_server_msg_received_total',
    help: 'Total number of RPC messages received on the server.',
    labels,
  })
  readonly #sent = new Counter({
    name: 'grpc_server_msg_sent_total',
    help: 'Total number of RPC messages sent by the server.',
    labels,
  })
  readonly #took = new Histogram({
    name: 'grpc_server_handling_seconds',
    help: 'How long RPCs took on the server, in seconds.',
    labels,
  })
  readonly #methods = new Map<DescMethod, MethodNumbers>()
  readonly #served = new Set<DescService>()
  /** Whether durations are kept too. */
  histogram: boolean

  readonly #shown: Disposable

  /** Shows its numbers in `set` until it is disposed. */
  constructor(set: MetricSet, histogram: boolean) {
    this.histogram = histogram
    const counters = [this.#started, this.#handled, this.#received, this.#sent]
    const complete = counters.map((family) => this.#complete(family))
    this.#shown = set.add(...complete, this.#optional(this.#took))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.resolve(this.#shown[Symbol.dispose]())
  }

  serves(services: readonly RegisteredService<never>[]): void {
    for (const { service } of services) this.#served.add(service)
  }

  readonly interceptor: CallObserver['interceptor'] = (call, ctx, next, input) => {
    const numbers = this.#numbersOf(call.method)
    const began = this.histogram ? performance.now() : undefined
    const ended = (code: number): void => {
      const count = numbers.handled[code]
      if (count) count.value++
      if (began !== undefined) numbers.took().observe((performance.now() - began) / 1000)
    }
    numbers.started.value++
    if (!isAsyncIterable(input)) numbers.received.value++
    const given = isAsyncIterable(input) ? counted(input, numbers.received) : input
    if (streamsReplies(call)) {
      return replies(() => next(ctx, given), call, { sent: numbers.sent, ended })
    }
    return reply(() => next(ctx, given), { sent: numbers.sent, ended })
  }

  #numbersOf(method: DescMethod): MethodNumbers {
    return this.#methods.getOrInsertComputed(method, () => {
      const values = [types[method.methodKind], method.parent.typeName, method.name]
      return {
        started: this.#started.with(...values),
        received: this.#received.with(...values),
        sent: this.#sent.with(...values),
        handled: statusNumbers.map((code) => this.#handled.with(...values, statusName(code))),
        took: () => this.#took.with(...values),
      }
    })
  }

  /** `family` with every method that is served, called or not; they are only made for a reader. */
  #complete(family: Family): Family {
    const { name, help, type } = family
    return {
      name,
      help,
      type,
      samples: () => {
        for (const { methods } of this.#served) for (const each of methods) this.#numbersOf(each)
        return family.samples()
      },
    }
  }

  #optional({ name, help, type }: Histogram): Family {
    return { name, help, type, samples: () => (this.histogram ? this.#took.samples() : []) }
  }
}

interface Ending {
  readonly sent: Count
  readonly ended: (code: number) => void
}

const streamsReplies = ({ method }: Call): boolean =>
  method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming'

async function reply(run: () => unknown, { sent, ended }: Ending): Promise<unknown> {
  try {
    const result = await run()
    sent.value++
    ended(ok)
    return result
  } catch (err) {
    ended(toStatus(err).code)
    throw err
  }
}

/** Hands on what the call answers; one that is left early was cancelled by its client. */
async function* replies(run: () => unknown, call: Call, { sent, ended }: Ending): AsyncGenerator {
  let code = canceled
  try {
    const results = await run()
    if (!isAsyncIterable(results)) throw new Error(`${call.method.name} did not give a stream`)
    for await (const result of results) {
      sent.value++
      yield result
    }
    code = ok
  } catch (err) {
    code = toStatus(err).code
    throw err
  } finally {
    ended(code)
  }
}

async function* counted(requests: AsyncIterable<unknown>, received: Count): AsyncGenerator {
  for await (const request of requests) {
    received.value++
    yield request
  }
}
