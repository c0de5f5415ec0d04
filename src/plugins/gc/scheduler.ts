import { setTimeout as sleep } from 'node:timers/promises'

import type { Context } from '#core/context.ts'
import type { CollectionStats, Scheduler } from '#core/gc/gc.ts'
import { background } from '#lib/async/background.ts'
import { raceAbort } from '#lib/async/mutex.ts'
import { aborted, describe } from '#lib/errors/errors.ts'

/** When to collect. Times in ms. Source: upstream `plugins/gc/scheduler.go`. */
export interface SchedulerSettings {
  /** The part of the time that collections may pause the daemon, 0 to 0.5; 0 is no limit. */
  readonly pauseThreshold: number
  /** Collect after this many deletions; 0 for as soon as the pauses allow. */
  readonly deletionThreshold: number
  /** Collect at the next opportunity after this many writes; 0 for never because of writes. */
  readonly mutationThreshold: number
  /** How long a collection that was asked for waits. */
  readonly scheduleDelay: number
  /** How long after the start the first one is. */
  readonly startupDelay: number
}

/** What is scheduled. */
export interface Collectable {
  collect(ctx: Context): Promise<CollectionStats>
  onMutation(listener: (mutation: { readonly deleted: boolean }) => void): Disposable
}

/** Until there is an average: how long to wait between two, in ms. */
const firstInterval = 1000
/** A collection counts for at least this much, in ms, lest the next one follows at once. */
const leastPause = 5
/** Added to the time between two collections when one has failed, in ms. */
const retryPenalty = 1000
const largestThreshold = 0.5

/** Collects in the background: after deletions and many writes, never too often, and on demand. */
export class GcScheduler implements Scheduler {
  #settings: SchedulerSettings
  readonly #collectable: Collectable
  readonly #scope = new AsyncDisposableStack()
  #wake = Promise.withResolvers<void>()
  #waiters: PromiseWithResolvers<CollectionStats>[] = []
  /** When the next one is, on the clock of `performance.now`; undefined when none is planned. */
  #next: number | undefined
  #last: number | undefined
  #triggered = false
  #deletions = 0
  #mutations = 0
  #pauses = { total: 0, count: 0 }
  #interval = firstInterval

  constructor(ctx: Context, collectable: Collectable, settings: SchedulerSettings) {
    this.#settings = settings
    this.#collectable = collectable
    if (settings.startupDelay > 0) this.#plan(settings.startupDelay)
    const loop = background(
      async (signal) => await this.#run({ ...ctx, signal: AbortSignal.any([ctx.signal, signal]) }),
      (err) => {
        if (ctx.signal.aborted) return
        ctx.log.error('garbage collection stopped', { error: describe(err) })
      },
    )
    this.#scope.use(loop)
    this.#scope.use(collectable.onMutation(({ deleted }) => this.#noteMutation(deleted)))
  }

  /** Goes by `settings` from here on; a collection that is planned already stays so. */
  configure(settings: SchedulerSettings): void {
    this.#settings = settings
    this.#noteMutations()
  }

  /** Disposes `resource` when this is disposed. */
  owning(resource: Disposable): this {
    this.#scope.use(resource)
    return this
  }

  async collect(ctx: Context): Promise<CollectionStats> {
    ctx.signal.throwIfAborted()
    if (this.#scope.disposed) throw aborted('garbage collection has stopped')
    const waiter = Promise.withResolvers<CollectionStats>()
    // Nobody may be left to hear of a failure.
    waiter.promise.catch(() => {})
    this.#waiters.push(waiter)
    this.#triggered = true
    this.#advance()
    return await raceAbort(waiter.promise, ctx.signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scope.disposeAsync()
    this.#settle((waiter) => waiter.reject(aborted('garbage collection has stopped')))
  }

  #noteMutation(deleted: boolean): void {
    this.#mutations++
    if (deleted) this.#deletions++
    this.#noteMutations()
  }

  /** Plans the next collection if there has been enough. */
  #noteMutations(): void {
    const { deletionThreshold, mutationThreshold } = this.#settings
    if (deletionThreshold > 0 && this.#deletions >= deletionThreshold) this.#advance()
    if (this.#next !== undefined) return
    const byDeletion = deletionThreshold === 0 && this.#deletions > 0
    if (byDeletion || (mutationThreshold > 0 && this.#mutations >= mutationThreshold)) {
      this.#advance()
    }
  }

  /** Brings the next one forward to the schedule delay, unless it is sooner. */
  #advance(): void {
    const { scheduleDelay } = this.#settings
    if (this.#next === undefined || this.#next > performance.now() + scheduleDelay) {
      this.#plan(scheduleDelay)
    }
  }

  #plan(ms: number): void {
    this.#next = performance.now() + ms
    this.#wake.resolve()
  }

  async #run(ctx: Context): Promise<void> {
    while (!ctx.signal.aborted) {
      if (!(await this.#untilDue(ctx))) continue
      if (this.#isNeeded()) await this.#collectOnce(ctx)
      else this.#plan(this.#interval)
    }
  }

  /** Waits until the next one is due; false when it is to be looked at again. */
  async #untilDue({ signal }: Context): Promise<boolean> {
    this.#wake = Promise.withResolvers<void>()
    const wake = this.#wake.promise
    const ms = this.#next === undefined ? undefined : this.#next - performance.now()
    if (ms === undefined) await raceAbort(wake, signal)
    else if (ms > 0) {
      const woken = new AbortController()
      const timer = sleep(ms, undefined, { signal: AbortSignal.any([signal, woken.signal]) })
      await Promise.race([wake, timer]).finally(() => woken.abort())
    }
    return this.#next !== undefined && this.#next <= performance.now()
  }

  #isNeeded(): boolean {
    const { mutationThreshold } = this.#settings
    if (this.#triggered || this.#last === undefined || this.#deletions > 0) return true
    return mutationThreshold > 0 && this.#mutations >= mutationThreshold
  }

  async #collectOnce(ctx: Context): Promise<void> {
    const due = this.#next
    const waiters = this.#waiters
    this.#waiters = []
    // What comes from here on is for the next one.
    this.#triggered = false
    this.#deletions = 0
    this.#mutations = 0
    // Writes meanwhile do not bring the next one forward; whoever asks for one does.
    this.#next = Number.POSITIVE_INFINITY
    try {
      const stats = await this.#collectable.collect(ctx)
      ctx.log.debug('garbage collected', { ms: Math.round(stats.elapsedMs) })
      this.#measure(stats)
      this.#planUnlessSooner(this.#interval)
      for (const waiter of waiters) waiter.resolve(stats)
    } catch (err) {
      for (const waiter of waiters) waiter.reject(new Error('gc failed', { cause: err }))
      if (ctx.signal.aborted) return
      ctx.log.error('garbage collection failed', { error: describe(err) })
      this.#planUnlessSooner(this.#retryDelay(due))
    }
    this.#last = performance.now()
  }

  /** Collections asked for meanwhile are not put off. */
  #planUnlessSooner(ms: number): void {
    if (this.#next === undefined || this.#next > performance.now() + ms) this.#plan(ms)
  }

  #retryDelay(due: number | undefined): number {
    if (this.#last === undefined || due === undefined) return this.#settings.scheduleDelay
    return Math.max(0, due - this.#last) + retryPenalty
  }

  /** The interval that keeps pauses below the threshold. */
  #measure({ pausedMs }: CollectionStats): void {
    const { total, count } = this.#pauses
    this.#pauses = { total: total + pausedMs, count: count + 1 }
    const { pauseThreshold } = this.#settings
    if (pauseThreshold === 0) return
    const average = Math.max(leastPause, this.#pauses.total / this.#pauses.count)
    this.#interval = average / pauseThreshold - average
  }

  #settle(end: (waiter: PromiseWithResolvers<CollectionStats>) => void): void {
    const waiters = this.#waiters
    this.#waiters = []
    waiters.forEach(end)
  }
}

/** `settings` within the bounds that upstream has. */
export const bounded = (settings: SchedulerSettings): SchedulerSettings => ({
  pauseThreshold: Math.min(Math.max(settings.pauseThreshold, 0), largestThreshold),
  deletionThreshold: settings.deletionThreshold,
  mutationThreshold: Math.max(settings.mutationThreshold, 0),
  scheduleDelay: Math.max(settings.scheduleDelay, 0),
  startupDelay: Math.max(settings.startupDelay, 0),
})
