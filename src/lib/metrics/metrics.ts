/*
 * Numbers that a process keeps about itself, in the terms of Prometheus: families of samples, told
 * apart by labels. Counting is a few nanoseconds; whatever is slow happens when somebody looks.
 */

export type Labels = Readonly<Record<string, string>>

/** One number of a family. */
export interface Sample {
  readonly labels: Labels
  readonly value: number
  /** Of a histogram: which of its series this belongs to, such as `x_bucket`; else the family's. */
  readonly name?: string
}

/** Samples that share a name and a meaning. */
export interface Family {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  samples(): Iterable<Sample>
}

/** A number that only grows. */
export interface Count {
  value: number
}

/** Values sorted into buckets. */
export interface Distribution {
  observe(value: number): void
}

/** Members of a family by their label values, in the order of the label names. */
class Members<T> {
  readonly #names: readonly string[]
  readonly #make: () => T
  readonly #members = new Map<string, { readonly labels: Labels; readonly member: T }>()

  constructor(names: readonly string[], make: () => T) {
    this.#names = names
    this.#make = make
  }

  get(values: readonly string[]): T {
    return this.#members.getOrInsertComputed(values.join('\0'), () => ({
      labels: Object.fromEntries(this.#names.map((name, i) => [name, values[i] ?? ''])),
      member: this.#make(),
    })).member
  }

  values(): Iterable<{ readonly labels: Labels; readonly member: T }> {
    return this.#members.values()
  }
}

/** What a family is made from. */
export interface FamilyOptions {
  readonly name: string
  readonly help: string
  readonly labels?: readonly string[]
}

/** A family of counters. Keep what `with` gives where the same labels come again and again. */
export class Counter implements Family {
  readonly name: string
  readonly help: string
  readonly type = 'counter'
  readonly #members: Members<Count>

  constructor({ name, help, labels = [] }: FamilyOptions) {
    this.name = name
    this.help = help
    this.#members = new Members(labels, () => ({ value: 0 }))
  }

  /** The counter with these label values, from now on part of the family. */
  with(...values: readonly string[]): Count {
    return this.#members.get(values)
  }

  *samples(): Iterable<Sample> {
    for (const { labels, member } of this.#members.values()) yield { labels, value: member.value }
  }
}

/** Upper bounds in seconds, from Prometheus's own client: made for the latency of calls. */
export const latencyBuckets: readonly number[] = [
  0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
]

/** A family of histograms. */
export class Histogram implements Family {
  readonly name: string
  readonly help: string
  readonly type = 'histogram'
  readonly #bounds: readonly number[]
  readonly #members: Members<Buckets>

  constructor(options: FamilyOptions & { readonly buckets?: readonly number[] }) {
    const { name, help, labels = [], buckets = latencyBuckets } = options
    this.name = name
    this.help = help
    this.#bounds = buckets
    this.#members = new Members(labels, () => new Buckets(buckets))
  }

  /** The histogram with these label values, from now on part of the family. */
  with(...values: readonly string[]): Distribution {
    return this.#members.get(values)
  }

  /** Buckets are cumulative: each counts everything up to its bound. */
  *samples(): Iterable<Sample> {
    for (const { labels, member } of this.#members.values()) {
      let below = 0
      for (const [i, count] of member.counts.entries()) {
        below += count
        const le = String(this.#bounds[i] ?? '+Inf')
        yield { name: `${this.name}_bucket`, labels: { ...labels, le }, value: below }
      }
      yield { name: `${this.name}_sum`, labels, value: member.sum }
      yield { name: `${this.name}_count`, labels, value: below }
    }
  }
}

class Buckets implements Distribution {
  readonly counts: number[]
  readonly #bounds: readonly number[]
  sum = 0

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds
    this.counts = [...bounds.map(() => 0), 0]
  }

  observe(value: number): void {
    const found = this.#bounds.findIndex((bound) => value <= bound)
    const bucket = found < 0 ? this.#bounds.length : found
    this.counts[bucket] = (this.counts[bucket] ?? 0) + 1
    this.sum += value
  }
}

/** Finds numbers that are elsewhere, each time somebody looks. It has a deadline of its own. */
export type Collector = () => Promise<readonly Family[]>

/** Families that are looked at together. */
export class MetricSet {
  readonly #families = new Set<Family>()
  readonly #collectors = new Set<Collector>()

  /** Shows `families` until the result is disposed. */
  add(...families: readonly Family[]): Disposable {
    for (const family of families) this.#families.add(family)
    return {
      [Symbol.dispose]: () => {
        for (const family of families) this.#families.delete(family)
      },
    }
  }

  /** Asks `collector`, too, until the result is disposed. */
  collect(collector: Collector): Disposable {
    this.#collectors.add(collector)
    return { [Symbol.dispose]: () => void this.#collectors.delete(collector) }
  }

  /** Every family there is now, those of collectors included. @throws what a collector says. */
  async gather(): Promise<readonly Family[]> {
    const collected = await Promise.all([...this.#collectors].map(async (each) => await each()))
    return [...this.#families, ...collected.flat()]
  }

  /** Every family that is kept here; a name may come twice when two daemons share the process. */
  families(): readonly Family[] {
    return [...this.#families]
  }
}

/** The numbers of this process, as there is one CPU time and one heap of it. */
export const processMetrics = new MetricSet()
