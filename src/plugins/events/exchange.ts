import type { Any } from '#core/any/any.ts'
import { type Context, namespaceOf } from '#core/context.ts'
import type { Envelope, Exchange, Timestamp } from '#core/events/events.ts'
import { describe, invalidArgument } from '#lib/errors/errors.ts'
import { type Filter, parseFilters } from '#lib/filters/filters.ts'
import { epochNanoseconds } from '#lib/go/now.ts'

import { fieldsOf } from './fields.ts'
import { type SubscriptionLimits, Subscription } from './subscription.ts'
import { validateEnvelope, validateTopic } from './validate.ts'

/** How much a subscriber may lag behind, unless an exchange is made with other limits. */
const defaultLimits: SubscriptionLimits = { events: 64 * 1024, bytes: 16 * 1024 * 1024 }

/** Hands out events in this process. Nothing is kept for those who subscribe later. */
export class EventExchange implements Exchange {
  readonly #subscriptions = new Map<Subscription, Filter | undefined>()
  readonly #limits: SubscriptionLimits

  constructor(limits: SubscriptionLimits = defaultLimits) {
    this.#limits = limits
  }

  publish(ctx: Context, topic: string, event: Any): void {
    const namespace = publisher(ctx)
    validateTopic(topic)
    this.#hand({ timestamp: now(), namespace, topic, event })
  }

  forward(_ctx: Context, envelope: Envelope): void {
    validateEnvelope(envelope)
    this.#hand(envelope)
  }

  subscribe(ctx: Context, filters: readonly string[] = []): AsyncIterable<Envelope> {
    const filter = filters.length > 0 ? parse(filters) : undefined
    const end = (): void => {
      this.#subscriptions.delete(subscription)
    }
    const subscription = new Subscription(ctx.signal, this.#limits, end)
    if (!ctx.signal.aborted) this.#subscriptions.set(subscription, filter)
    return subscription
  }

  #hand(envelope: Envelope): void {
    const fields = fieldsOf(envelope)
    for (const [subscription, filter] of this.#subscriptions) {
      if (!filter || filter(fields)) subscription.push(envelope)
    }
  }
}

/** The namespace of who publishes. @throws as `namespaceOf`, in upstream's words. */
function publisher(ctx: Context): string {
  try {
    return namespaceOf(ctx)
  } catch (err) {
    throw new Error('failed publishing event', { cause: err })
  }
}

function parse(filters: readonly string[]): Filter {
  try {
    return parseFilters(filters)
  } catch (err) {
    const message = `failed parsing subscription filters: ${describe(err)}`
    throw invalidArgument(message, { cause: err })
  }
}

function now(): Timestamp {
  const nanos = epochNanoseconds()
  return { seconds: nanos / 1_000_000_000n, nanos: Number(nanos % 1_000_000_000n) }
}
