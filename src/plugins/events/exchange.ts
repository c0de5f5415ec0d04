import type { Any } from '#core/any/any.ts'
import { type Context, namespaceOf } from '#core/context.ts'
import type { Envelope, Exchange, Followed, From, Timestamp } from '#core/events/events.ts'
import { describe, invalidArgument, resourceExhausted } from '#lib/errors/errors.ts'
import { type Filter, parseFilters } from '#lib/filters/filters.ts'
import { epochNanoseconds } from '#lib/go/now.ts'

import { fieldsOf } from './fields.ts'
import { Journal } from './journal.ts'
import { type Place, type Places, parseCursor } from './places.ts'
import { Reader, type Source } from './reader.ts'
import { validateEnvelope, validateTopic } from './validate.ts'

/** How many events are kept, unless the configuration says. */
export const defaultEvents = 16 * 1024
/** How large they may be together; there are two generations of that. */
const defaultBytes = 8 * 1024 * 1024

/** The newest events are at hand as they came, as far as they are small: most readers keep up. */
const [recentEvents, recentBytes] = [256, 4096]

/** How much an exchange keeps, and where. */
export interface ExchangeOptions {
  /** The directory of the log; without it nothing outlives the process. */
  readonly dir?: string | undefined
  /** Of the latest events, at least so many are kept, and at most twice as many. */
  readonly events?: number
  /** The same, of their bytes; it goes before the number. */
  readonly bytes?: number
}

type Entry = ReturnType<Source['get']>

/** Hands out events in this process, and keeps the latest ones. */
export class EventExchange implements Exchange, AsyncDisposable {
  readonly #readers = new Set<Reader>()
  readonly #journal: Journal
  readonly #recent: ({ readonly index: number; readonly entry: Entry } | undefined)[] = []
  readonly #source: Source

  constructor(ctx: Context, options: ExchangeOptions = {}) {
    const { dir, events = defaultEvents, bytes = defaultBytes } = options
    const onMore = (): void => {
      for (const reader of this.#readers) reader.wake()
    }
    const journal = new Journal(ctx, { dir, events, bytes, onMore })
    this.#journal = journal
    this.#source = {
      get extent() {
        return journal.extent
      },
      get places() {
        return journal.places
      },
      get: (index) => this.#entry(index),
    }
  }

  publish(ctx: Context, topic: string, event: Any): void {
    const namespace = publisher(ctx)
    validateTopic(topic)
    this.#keep({ timestamp: now(), namespace, topic, event })
  }

  forward(_ctx: Context, envelope: Envelope): void {
    validateEnvelope(envelope)
    this.#keep(envelope)
  }

  subscribe(ctx: Context, filters: readonly string[] = []): AsyncIterable<Envelope> {
    return eventsOf(this.#read(ctx, filters, 'now'))
  }

  follow(ctx: Context, from: From, filters: readonly string[] = []): AsyncIterable<Followed> {
    return this.#read(ctx, filters, from)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#journal[Symbol.asyncDispose]()
  }

  #read({ signal }: Context, filters: readonly string[], from: From): Reader {
    const filter = filters.length > 0 ? parse(filters) : undefined
    const onEnd = (): void => void this.#readers.delete(reader)
    const begin = this.#beginning(from)
    const reader: Reader = new Reader({ source: this.#source, filter, begin, signal, onEnd })
    if (!signal.aborted) this.#readers.add(reader)
    return reader
  }

  #beginning(from: From): (places: Places) => Place {
    const { end } = this.#journal
    if (from === 'now') return () => ({ index: end })
    if (from === 'oldest') return () => ({ index: this.#journal.extent.first })
    parseCursor(from.after)
    return (places) => places.behind(from.after, { first: this.#journal.extent.first, end })
  }

  #keep(envelope: Envelope): void {
    const entry = { envelope, fields: fieldsOf(envelope) }
    const index = this.#journal.end
    const small = envelope.event.value.length <= recentBytes
    this.#recent[index % recentEvents] = small ? { index, entry } : undefined
    this.#journal.push(envelope)
  }

  #entry(index: number): Entry {
    const recent = this.#recent[index % recentEvents]
    if (recent?.index === index) return recent.entry
    const envelope = this.#journal.get(index)
    return { envelope, fields: fieldsOf(envelope) }
  }
}

/** The events alone; for who knows no cursors a gap is the end. */
async function* eventsOf(followed: AsyncIterable<Followed>): AsyncGenerator<Envelope> {
  for await (const next of followed) {
    if (next.kind === 'event') yield next.envelope
    if (next.kind === 'gap') throw tooSlow(next.lost, next.cursor)
  }
}

const tooSlow = (lost: number | undefined, cursor: string): Error =>
  resourceExhausted(
    `subscriber is too slow: ${lost} events that it has not read are no longer kept; to go on, subscribe after ${cursor}`,
  )

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
