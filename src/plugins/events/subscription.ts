import type { Envelope } from '#core/events/events.ts'
import { Inbox } from '#lib/rpc/inbox.ts'
import { resourceExhausted } from '#lib/errors/errors.ts'

/** How much one subscriber may leave unread. */
export interface SubscriptionLimits {
  readonly events: number
  /** Of payload and names; what the objects around them cost is not counted. */
  readonly bytes: number
}

/**
 * What one subscriber has not read yet. It ends quietly with its signal, and with
 * `resource_exhausted` when the subscriber falls too far behind: a reader that stalls must not hold
 * the memory of the daemon.
 */
export class Subscription implements AsyncIterable<Envelope> {
  readonly #inbox: Inbox<Envelope>
  readonly #limits: SubscriptionLimits
  readonly #close: () => void
  #bytes = 0

  /** `onEnd` is called once, when no more events are wanted. */
  constructor(signal: AbortSignal, limits: SubscriptionLimits, onEnd: () => void) {
    this.#limits = limits
    const abort = (): void => {
      this.#close()
      this.#inbox.end()
    }
    this.#close = () => {
      signal.removeEventListener('abort', abort)
      onEnd()
    }
    this.#inbox = new Inbox({ onReturn: () => this.#close() })
    if (signal.aborted) this.#inbox.end()
    else signal.addEventListener('abort', abort, { once: true })
  }

  /** Queues an event; past the limits, drops everything and fails the subscriber. */
  push(envelope: Envelope): void {
    this.#bytes += sizeOf(envelope)
    this.#inbox.push(envelope)
    const { events, bytes } = this.#limits
    if (this.#inbox.size <= events && (this.#bytes <= bytes || this.#inbox.size <= 1)) return
    this.#close()
    this.#inbox.fail(
      resourceExhausted(
        `subscriber is too slow: it left more than ${events} events or ${bytes} bytes unread`,
      ),
    )
  }

  [Symbol.asyncIterator](): AsyncIterator<Envelope> {
    return {
      next: async () => {
        const result = await this.#inbox.next()
        if (!result.done) this.#bytes -= sizeOf(result.value)
        return result
      },
      return: async () => await this.#inbox.return(),
    }
  }
}

const sizeOf = ({ event, namespace, topic }: Envelope): number =>
  event.value.length + event.typeUrl.length + namespace.length + topic.length
