import { type DescMessage, type MessageInitShape, create, toBinary } from '@bufbuild/protobuf'
import { timestampNow } from '@bufbuild/protobuf/wkt'
import { setTimeout as sleep } from 'node:timers/promises'

import type { Logger } from '#core/context.ts'
import { Events } from '#gen/services/events-ttrpc_pb.ts'
import { describe } from '#lib/errors/errors.ts'
import type { Connection } from '#lib/rpc/rpc.ts'
import { connectTtrpc } from '#lib/ttrpc/client.ts'

/** Limits of upstream `pkg/shim/publisher.go`. */
const maxQueued = 2048
const maxRetries = 5
const publishMs = 5_000
const retryMs = 1_000

interface Queued {
  readonly topic: string
  readonly typeUrl: string
  readonly value: Uint8Array
  readonly timestamp: ReturnType<typeof timestampNow>
}

/** To which daemon, and in whose name. */
export interface PublisherOptions {
  /** Of the daemon's ttrpc socket; without one nothing is published. */
  readonly address: string
  readonly namespace: string
  readonly log: Logger
}

/**
 * Sends events to the daemon, one after the other in the order they were published. Each is sent as soon as
 * it may be, and not after the answer of its call: what still waits is lost with a host that is killed.
 *
 * While the daemon is away events wait, 2048 at most; one that fails five times is dropped.
 */
export class EventPublisher implements AsyncDisposable {
  readonly #options: PublisherOptions
  readonly #queue: Queued[] = []
  readonly #stop = new AbortController()
  #connection: Connection | undefined
  #sending: Promise<void> | undefined

  constructor(options: PublisherOptions) {
    this.#options = options
  }

  /** Queues an event; never waits. */
  publish<D extends DescMessage>(topic: string, schema: D, event: MessageInitShape<D>): void {
    const { address, log } = this.#options
    if (address === '' || this.#stop.signal.aborted) return
    if (this.#queue.length >= maxQueued) {
      log.error('event queue is full', { topic })
      return
    }
    const value = toBinary(schema, create(schema, event))
    this.#queue.push({ topic, typeUrl: schema.typeName, value, timestamp: timestampNow() })
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = undefined
    })
  }

  /** Waits until what was published is sent or dropped. */
  async flushed(): Promise<void> {
    await this.#sending
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#sending
    await this.#connection?.[Symbol.asyncDispose]()
  }

  async #sendAll(): Promise<void> {
    for (let next = this.#queue[0]; next; next = this.#queue[0]) {
      await this.#sendOne(next)
      this.#queue.shift()
    }
  }

  async #sendOne(event: Queued): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.#forward(event)
        return
      } catch (err) {
        if (attempt > maxRetries || this.#stop.signal.aborted) {
          this.#options.log.error('event dropped', { topic: event.topic, error: describe(err) })
          return
        }
      }
      // Aborted: the loop ends with the next attempt.
      await sleep(attempt * retryMs, undefined, { signal: this.#stop.signal }).catch(() => {})
    }
  }

  async #forward({ topic, typeUrl, value, timestamp }: Queued): Promise<void> {
    const { namespace } = this.#options
    const connection = await this.#connected()
    await connection
      .client(Events)
      .forward(
        { envelope: { timestamp, namespace, topic, event: { typeUrl, value } } },
        { timeoutMs: publishMs, metadata: { 'containerd-namespace-ttrpc': namespace } },
      )
  }

  async #connected(): Promise<Connection> {
    if (!this.#connection || this.#connection.closed.aborted) {
      this.#connection = await connectTtrpc(this.#options.address, {
        signal: this.#stop.signal,
        connectMs: publishMs,
      })
    }
    return this.#connection
  }
}
