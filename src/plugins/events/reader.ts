import { setImmediate as turn } from 'node:timers/promises'

import type { Envelope, Followed } from '#core/events/events.ts'
import type { Filter } from '#lib/filters/filters.ts'

import type { Places, Place, Extent } from './places.ts'

/** After how many events that are not wanted others have their turn, and the follower is told its place. */
const [turnEvery, placeEvery] = [256, 1024]

/** What readers read. */
export interface Source {
  /** What may be read: what is kept, up to the last event that is given to anybody. */
  readonly extent: Extent
  /** Known as soon as the log is open. */
  readonly places: Promise<Places>
  /** The event `index`, within `extent`, and what filters ask it. */
  get(index: number): { readonly envelope: Envelope; readonly fields: Parameters<Filter>[0] }
}

/** What a reader is made with. */
export interface ReaderOptions {
  readonly source: Source
  readonly filter: Filter | undefined
  /** Finds where to begin. */
  readonly begin: (places: Places) => Place
  readonly signal: AbortSignal
  /** Called once, when no more is wanted. */
  readonly onEnd: () => void
}

/**
 * One subscriber: a place in what is kept, and nothing else. A subscriber that stalls holds no memory;
 * when what it has not read is kept no longer, it gets a gap. With its signal it ends quietly, after
 * what was there by then.
 */
export class Reader implements AsyncIterableIterator<Followed> {
  readonly #options: ReaderOptions
  readonly #abort = (): void => {
    this.#last = this.#options.source.extent.end
    this.wake()
    this.#leave()
  }
  #place: Promise<{ readonly places: Places; readonly place: Place }> | undefined
  #index: number | undefined
  #waiting: PromiseWithResolvers<void> | undefined
  #ended = false
  #left = false
  /** Behind the last event that is given, once the signal has aborted. */
  #last = Infinity
  /** Since the follower was told where it is. */
  #skipped = 0

  constructor(options: ReaderOptions) {
    this.#options = options
    this.#ended = options.signal.aborted
    this.#left = this.#ended
    if (this.#ended) return
    options.signal.addEventListener('abort', this.#abort, { once: true })
  }

  /** Says that there may be more. */
  wake(): void {
    this.#waiting?.resolve()
    this.#waiting = undefined
  }

  async next(): Promise<IteratorResult<Followed>> {
    if (this.#index !== undefined) return await this.#next(this.#index)
    const { source, begin } = this.#options
    this.#place ??= source.places.then((places) => ({ places, place: begin(places) }))
    const { places, place } = await this.#place
    if (this.#ended) return over
    if (this.#index !== undefined) return await this.#next(this.#index)
    this.#index = place.index
    const cursor = places.before(place.index)
    const kind = place.gap ? 'gap' : 'place'
    return { done: false, value: { kind, cursor, ...place.gap } }
  }

  return(): Promise<IteratorResult<Followed>> {
    this.#ended = true
    this.wake()
    this.#leave()
    return Promise.resolve(over)
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async #next(from: number): Promise<IteratorResult<Followed>> {
    const { source, filter } = this.#options
    const places = await source.places
    let looked = 0
    for (let index = from; !this.#ended; index = this.#index ?? index) {
      const { first, end } = source.extent
      if (index >= this.#last) break
      if (index < first) return this.#told(places, { kind: 'gap', lost: first - index }, first)
      if (index >= end) {
        await this.#more()
        continue
      }
      const { envelope, fields } = source.get(index)
      this.#index = index + 1
      if (!filter || filter(fields))
        return this.#told(places, { kind: 'event', envelope }, index + 1)
      if (++this.#skipped >= placeEvery) return this.#told(places, { kind: 'place' }, index + 1)
      if (++looked % turnEvery === 0) await turn()
    }
    return over
  }

  #told(places: Places, what: Untold, index: number): IteratorResult<Followed> {
    this.#index = index
    this.#skipped = 0
    return { done: false, value: { ...what, cursor: places.before(index) } }
  }

  async #more(): Promise<void> {
    this.#waiting ??= Promise.withResolvers()
    await this.#waiting.promise
  }

  /** Nothing wakes it from now on. */
  #leave(): void {
    if (this.#left) return
    this.#left = true
    const { signal, onEnd } = this.#options
    signal.removeEventListener('abort', this.#abort)
    onEnd()
  }
}

/** What is told but for the cursor. */
type Untold =
  | { readonly kind: 'event'; readonly envelope: Envelope }
  | { readonly kind: 'gap'; readonly lost: number }
  | { readonly kind: 'place' }

const over: IteratorResult<Followed> = { done: true, value: undefined }
