import type { Cursor } from '#core/events/events.ts'
import { invalidArgument } from '#lib/errors/errors.ts'

import { type Life, newLifeId } from './log-format.ts'

/** The events that are kept, by index. */
export interface Extent {
  readonly first: number
  readonly end: number
}

/** Where to go on from a cursor. */
export interface Place {
  /** Of the next event. */
  readonly index: number
  /** Events are missing before it; how many, unless nobody knows. */
  readonly gap?: { readonly lost?: number | undefined }
}

/**
 * Cursors: the life of the last event that was seen, and its number, `1f2e3d4c5b6a7988-42`.
 *
 * Events have an index in this process, where the first one that it publishes has 0, and a number in
 * their log, which goes on over restarts.
 */
export class Places {
  /** In order, by number. */
  #lives: readonly Life[]
  /** The number of the event with index 0. */
  readonly #base: number

  constructor(lives: readonly Life[] = [{ id: newLifeId(), first: 1 }]) {
    this.#lives = lives
    this.#base = lives.at(-1)?.first ?? 1
  }

  numberOf(index: number): number {
    return this.#base + index
  }

  /** The place before the event `index`, behind the one before. */
  before(index: number): Cursor {
    const number = this.numberOf(index) - 1
    const life = this.#lives.findLast(({ first }) => first <= number) ?? this.#lives[0]
    return `${life?.id}-${number}`
  }

  /** Where to go on behind what `cursor` has seen. @throws `invalid_argument` for what is none. */
  behind(cursor: Cursor, kept: Extent): Place {
    const { id, number } = parseCursor(cursor)
    const [first, end] = [this.numberOf(kept.first), this.numberOf(kept.end)]
    const at = this.#lives.findIndex((life) => life.id === id)
    const life = this.#lives[at]
    const next = number + 1
    if (next < first) {
      return { index: kept.first, gap: this.#ours(id) ? { lost: first - next } : {} }
    }
    if (!life || next < life.first) return { index: kept.first, gap: {} }
    const over = this.#lives[at + 1]?.first ?? end
    return next > over
      ? { index: Math.max(over, first) - this.#base, gap: {} }
      : { index: next - this.#base }
  }

  /** Forgets lives of which nothing is kept. */
  keep({ first }: Extent): void {
    const number = this.numberOf(first)
    const oldest = this.#lives.findLastIndex((life) => life.first <= number)
    if (oldest > 0) this.#lives = this.#lives.slice(oldest)
  }

  #ours(id: string): boolean {
    return this.#lives[0]?.id.slice(0, 8) === id.slice(0, 8)
  }
}

/** @throws `invalid_argument`. */
export function parseCursor(cursor: Cursor): { readonly id: string; readonly number: number } {
  const [, id, digits] = /^([0-9a-f]{16})-(\d{1,15})$/.exec(cursor) ?? []
  if (id === undefined) throw invalidArgument(`${JSON.stringify(cursor)} is no cursor of events`)
  return { id, number: Number(digits) }
}
