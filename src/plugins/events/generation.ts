import type { Envelope } from '#core/events/events.ts'

import { decodeEvent, eventRecord } from './log-format.ts'

const firstCapacity = 16 * 1024

/** How much one generation of events may be. */
export interface GenerationLimits {
  readonly events: number
  /** Of records, as they are on disk. One that is larger has a generation of its own. */
  readonly bytes: number
}

/** Consecutive events, encoded back to back, just as the log has them on disk. */
export class Generation {
  /** Of the first event; negative for what an earlier daemon has left. */
  readonly first: number
  #records = Buffer.alloc(0)
  #bytes = 0
  readonly #ends: number[] = []

  constructor(first: number) {
    this.first = first
  }

  /** Behind the last event. */
  get end(): number {
    return this.first + this.#ends.length
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Appends one record, as `eventRecord` makes it. */
  push(record: Uint8Array): void {
    const end = this.#bytes + record.length
    if (end > this.#records.length) this.#grow(end)
    this.#records.set(record, this.#bytes)
    this.#bytes = end
    this.#ends.push(end)
  }

  /** Appends everything that `other` has. */
  append(other: Generation): void {
    for (let index = other.first; index < other.end; index++) this.push(other.#record(index))
  }

  /** The bytes from the beginning of event `index` to the last one's end. */
  recordsFrom(index: number): Uint8Array {
    return this.#records.subarray(this.#start(index), this.#bytes)
  }

  get(index: number): Envelope {
    return decodeEvent(this.#record(index))
  }

  /** Whether one more record of `length` bytes would be too much. */
  isFull({ events, bytes }: GenerationLimits, length: number): boolean {
    if (this.#ends.length === 0) return false
    return this.#ends.length >= events || this.#bytes + length > bytes
  }

  #record(index: number): Uint8Array {
    return this.#records.subarray(this.#start(index), this.#ends[index - this.first])
  }

  #start(index: number): number {
    return index === this.first ? 0 : (this.#ends[index - this.first - 1] ?? 0)
  }

  #grow(needed: number): void {
    const grown = Buffer.alloc(Math.max(needed, firstCapacity, this.#records.length * 2))
    grown.set(this.#records.subarray(0, this.#bytes))
    this.#records = grown
  }
}

/**
 * The latest events, in two generations: when one is full the older is dropped.
 *
 *     ┌── previous: full ──┬── current ──▷ limit
 *     first                               end
 *
 * So there are always as many events as one generation holds, and never more than two hold.
 */
export class Ring {
  readonly #limits: GenerationLimits
  #previous: Generation | undefined
  #current = new Generation(0)

  constructor(limits: GenerationLimits) {
    this.#limits = limits
  }

  /** Of the oldest event there is. */
  get first(): number {
    return this.#previous?.first ?? this.#current.first
  }

  /** Behind the newest. */
  get end(): number {
    return this.#current.end
  }

  get generations(): readonly Generation[] {
    return this.#previous ? [this.#previous, this.#current] : [this.#current]
  }

  /** Appends an event, and tells its number. */
  push(envelope: Envelope): number {
    const record = eventRecord(envelope)
    if (this.#current.isFull(this.#limits, record.length)) {
      this.#previous = this.#current
      this.#current = new Generation(this.#current.end)
    }
    this.#current.push(record)
    return this.#current.end - 1
  }

  /** The event `index`, which is between `first` and `end`. */
  get(index: number): Envelope {
    const inPrevious = this.#previous && index < this.#previous.end
    return (inPrevious ? (this.#previous ?? this.#current) : this.#current).get(index)
  }

  /** Puts what was kept before the first event, which has number 0, in front of it. */
  prepend(older: readonly Generation[]): void {
    // More has been published meanwhile than is kept: what is older is over.
    if (this.#previous) return
    const last = older.at(-1)
    if (!last) return
    this.#previous = older.at(-2)
    if (last.end !== this.#current.first) throw new RangeError('what was kept does not meet')
    last.append(this.#current)
    this.#current = last
  }
}
