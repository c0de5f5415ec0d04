import type { Timestamp } from '#core/events/events.ts'

/** When the monitor looks, and how often it tries again. */
export interface RestartSettings {
  readonly intervalMs: number
  /** The longest time between two starts of a task that ends at once; 0 for the interval. */
  readonly maxBackoffMs: number
}

/** The starts of one container so far. */
interface Attempt {
  /** In ms since the epoch. */
  readonly at: number
  /** How many in a row did not last. */
  readonly quick: number
}

/**
 * When a task may be started again.
 *
 * One that has run for an interval is due at once, as in containerd. Another waits for twice as long
 * each time, from the interval to the longest back-off.
 */
export class Attempts {
  readonly #settings: RestartSettings
  readonly #attempts = new Map<string, Attempt>()

  constructor(settings: RestartSettings) {
    this.#settings = settings
  }

  /** Whether the task that ended at `exitedAt`, or nobody knows when, may be started again now. */
  isDue(key: string, exitedAt: Timestamp | undefined): boolean {
    const attempt = this.#attempts.get(key)
    if (!attempt) return true
    const { intervalMs, maxBackoffMs } = this.#settings
    const ended = exitedAt ? Number(exitedAt.seconds) * 1000 + exitedAt.nanos / 1e6 : attempt.at
    if (ended - attempt.at >= intervalMs) {
      this.#attempts.delete(key)
      return true
    }
    const waitMs = Math.min(intervalMs * 2 ** (attempt.quick - 1), maxBackoffMs)
    return Date.now() >= attempt.at + waitMs
  }

  /** It is started now. */
  began(key: string): void {
    const quick = (this.#attempts.get(key)?.quick ?? 0) + 1
    this.#attempts.set(key, { at: Date.now(), quick })
  }

  /** Forgets all but these. */
  keep(keys: ReadonlySet<string>): void {
    for (const key of this.#attempts.keys()) if (!keys.has(key)) this.#attempts.delete(key)
  }
}
