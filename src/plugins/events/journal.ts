import { type Context, forCleanup } from '#core/context.ts'
import type { Envelope } from '#core/events/events.ts'
import { raceAbort } from '#lib/async/mutex.ts'
import { describe } from '#lib/errors/errors.ts'

import { type Generation, type GenerationLimits, Ring } from './generation.ts'
import { EventLogFile } from './log-file.ts'
import { type Extent, Places } from './places.ts'

/** After a failure, how long nothing is written, in ms. */
const pauseMs = 10_000
/** How long a stop waits for the last events to be written, in ms. */
const stopMs = 2000

/** How events are kept. */
export interface JournalOptions extends GenerationLimits {
  /** Where the log is; without it nothing outlives the process. */
  readonly dir?: string | undefined
  /** Called when there is more to read. */
  readonly onMore: () => void
}

/**
 * The latest events, in memory and on disk.
 *
 *     ─┬──────────────┬───────────────┬────────────▷
 *      first          visible         end
 *       on disk        being written
 *
 * What has been handed to the kernel is visible, and outlives a kill -9; nobody waits for the disk
 * itself. One write is under way at a time, and takes along what has come meanwhile. Nothing is opened
 * before the first event or reader: by then this daemon has the root for itself. A log that cannot be
 * written is said once, and events are given to readers all the same.
 */
export class Journal implements AsyncDisposable {
  readonly #ctx: Context
  readonly #options: JournalOptions
  readonly #ring: Ring
  #opening: Promise<Places> | undefined
  #places: Places | undefined
  #file: EventLogFile | undefined
  /** The generation that the file has. */
  #current: Generation | undefined
  #written = 0
  #visible = 0
  #flushing: Promise<void> | undefined
  #pauseUntil = 0

  constructor(ctx: Context, options: JournalOptions) {
    this.#ctx = ctx
    this.#options = options
    this.#ring = new Ring(options)
  }

  /** What may be read. */
  get extent(): Extent {
    return { first: this.#ring.first, end: this.#visible }
  }

  /** Behind the newest event, whether or not it may be read yet. */
  get end(): number {
    return this.#ring.end
  }

  get places(): Promise<Places> {
    this.#opening ??= this.#open()
    return this.#opening
  }

  get(index: number): Envelope {
    return this.#ring.get(index)
  }

  /** Keeps an event, and gives its index. */
  push(envelope: Envelope): number {
    const index = this.#ring.push(envelope)
    if (this.#options.dir === undefined || performance.now() < this.#pauseUntil) this.#show()
    else this.#flushing ??= this.#flush()
    return index
  }

  /** Writes what is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    await using _file = { [Symbol.asyncDispose]: async () => await this.#close() }
    try {
      await raceAbort(Promise.resolve(this.#flushing), forCleanup(this.#ctx, stopMs).signal)
    } catch (err) {
      this.#ctx.log.warn('the last events are not in the log', { error: describe(err) })
    }
  }

  async #open(): Promise<Places> {
    const { dir } = this.#options
    try {
      if (dir !== undefined) this.#file = await EventLogFile.open(dir, this.#ctx.signal)
    } catch (err) {
      this.#failed(err)
    }
    if (this.#file) {
      const { generations, lives } = this.#file.kept
      this.#ring.prepend(generations)
      this.#current = generations.at(-1)
      this.#places = new Places(lives)
    }
    this.#places ??= new Places()
    return this.#places
  }

  async #flush(): Promise<void> {
    try {
      const places = await this.places
      while (this.#file && this.#written < this.#ring.end) await this.#write(this.#file, places)
    } catch (err) {
      this.#failed(err)
    }
    this.#flushing = undefined
    this.#show()
  }

  /** Writes what there is of the oldest generation that is not written. */
  async #write(file: EventLogFile, places: Places): Promise<void> {
    this.#written = Math.max(this.#written, this.#ring.first)
    const generation = this.#ring.generations.find(({ end }) => end > this.#written)
    if (!generation) return
    if (generation !== this.#current) {
      this.#current = undefined
      await file.rotate(places.numberOf(this.#written))
      this.#current = generation
      places.keep(this.#ring)
    }
    const { end } = generation
    await file.append(generation.recordsFrom(this.#written))
    this.#written = end
    this.#visible = Math.max(this.#visible, end)
    this.#options.onMore()
  }

  /** Gives to readers whatever there is. */
  #show(): void {
    if (this.#visible === this.#ring.end) return
    this.#visible = this.#ring.end
    this.#options.onMore()
  }

  #failed(err: unknown): void {
    const first = this.#pauseUntil === 0
    this.#pauseUntil = performance.now() + pauseMs
    this.#current = undefined
    if (!first) return
    const { dir } = this.#options
    this.#ctx.log.warn('the event log cannot be written', { path: dir, error: describe(err) })
  }

  async #close(): Promise<void> {
    const file = this.#file
    this.#file = undefined
    await file?.[Symbol.asyncDispose]()
  }
}
