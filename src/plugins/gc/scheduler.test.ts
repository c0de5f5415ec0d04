import assert from 'node:assert/strict'
import { setImmediate } from 'node:timers/promises'
import { type TestContext, suite, test } from 'node:test'

import type { Context } from '#core/context.ts'
import type { CollectionStats } from '#core/gc/gc.ts'
import { newContext } from '#testing/context.ts'

import { GcScheduler, type SchedulerSettings, bounded } from './scheduler.ts'

const never = 2 ** 30
const settings: SchedulerSettings = {
  pauseThreshold: 0.02,
  deletionThreshold: 0,
  mutationThreshold: 0,
  scheduleDelay: 0,
  startupDelay: 0,
}
const stats: CollectionStats = { elapsedMs: 1, pausedMs: 1, removed: { content: 1 } }

/** Counts collections, and lets a test write. */
class Counter {
  count = 0
  failures = 0
  #listener: ((mutation: { readonly deleted: boolean }) => void) | undefined
  #collected = Promise.withResolvers<void>()

  async collect(): Promise<CollectionStats> {
    await setImmediate()
    this.count++
    this.#collected.resolve()
    this.#collected = Promise.withResolvers<void>()
    if (this.failures-- > 0) throw new Error('broken disk')
    return stats
  }

  onMutation(listener: (mutation: { readonly deleted: boolean }) => void): Disposable {
    this.#listener = listener
    return { [Symbol.dispose]: () => (this.#listener = undefined) }
  }

  /** The end of the next collection. */
  async next(): Promise<void> {
    await this.#collected.promise
  }

  mutate(deleted = false): void {
    this.#listener?.({ deleted })
  }

  get heard(): boolean {
    return this.#listener !== undefined
  }
}

async function withScheduler(
  t: TestContext,
  more: Partial<SchedulerSettings>,
  body: (ctx: Context, scheduler: GcScheduler, counter: Counter) => Promise<void>,
): Promise<void> {
  const counter = new Counter()
  const ctx = newContext(t)
  {
    await using scheduler = new GcScheduler(ctx, counter, { ...settings, ...more })
    await body(ctx, scheduler, counter)
  }
  assert.ok(!counter.heard)
}

void suite('scheduler of collections', () => {
  void test('it collects on demand, and tells what was done', async (t) => {
    await withScheduler(t, {}, async (ctx, scheduler, counter) => {
      assert.deepEqual(await scheduler.collect(ctx), stats)
      assert.deepEqual(await scheduler.collect(ctx), stats)
      assert.equal(counter.count, 2)
    })
  })

  void test('those who ask at the same time share a collection', async (t) => {
    await withScheduler(t, {}, async (ctx, scheduler, counter) => {
      await Promise.all(Array.from({ length: 5 }, async () => await scheduler.collect(ctx)))
      assert.equal(counter.count, 1)
    })
  })

  void test('who asks during a collection gets the next one', async (t) => {
    await withScheduler(t, {}, async (ctx, scheduler, counter) => {
      const first = scheduler.collect(ctx)
      await Promise.resolve()
      await setImmediate()
      const second = scheduler.collect(ctx)
      await Promise.all([first, second])
      assert.ok(counter.count >= 1 && counter.count <= 2)
      const began = counter.next()
      const third = scheduler.collect(ctx)
      await began
      const fourth = scheduler.collect(ctx)
      await third
      const before = counter.count
      await fourth
      assert.equal(counter.count, before + 1)
    })
  })

  void test('the first one comes by itself after the start', async (t) => {
    await withScheduler(t, { startupDelay: 1 }, async (_ctx, _scheduler, counter) => {
      await counter.next()
      assert.equal(counter.count, 1)
    })
  })

  void test('a deletion brings one about, writes alone do not', async (t) => {
    await withScheduler(t, { pauseThreshold: 0.5 }, async (_ctx, _scheduler, counter) => {
      for (let i = 0; i < 50; i++) counter.mutate()
      await setImmediate()
      assert.equal(counter.count, 0)
      const collected = counter.next()
      counter.mutate(true)
      await collected
      // The interval is 5 ms now; what is deleted is collected at its end.
      const again = counter.next()
      counter.mutate(true)
      await again
      assert.equal(counter.count, 2)
    })
  })

  void test('enough writes bring one about', async (t) => {
    await withScheduler(t, { mutationThreshold: 10 }, async (_ctx, _scheduler, counter) => {
      for (let i = 0; i < 9; i++) counter.mutate()
      await setImmediate()
      assert.equal(counter.count, 0)
      const collected = counter.next()
      counter.mutate()
      await collected
    })
  })

  void test('enough deletions bring one about at once, fewer wait', async (t) => {
    const more = { deletionThreshold: 3, startupDelay: never }
    await withScheduler(t, more, async (_ctx, _scheduler, counter) => {
      counter.mutate(true)
      counter.mutate(true)
      await setImmediate()
      assert.equal(counter.count, 0)
      const collected = counter.next()
      counter.mutate(true)
      await collected
    })
  })

  void test('a collection that fails fails those who wait, and is tried again', async (t) => {
    await withScheduler(t, {}, async (ctx, scheduler, counter) => {
      counter.failures = 1
      await assert.rejects(scheduler.collect(ctx), { message: 'gc failed' })
      assert.deepEqual(await scheduler.collect(ctx), stats)
    })
  })

  void test('who gives up waiting does not stop it', async (t) => {
    await withScheduler(t, { scheduleDelay: 5 }, async (ctx, scheduler, counter) => {
      const collected = counter.next()
      const abandoned = new AbortController()
      const waiting = scheduler.collect({ ...ctx, signal: abandoned.signal })
      abandoned.abort()
      await assert.rejects(waiting, { name: 'AbortError' })
      await collected
    })
  })

  void test('when it stops, those who wait hear of it', async (t) => {
    const ctx = newContext(t)
    const scheduler = new GcScheduler(ctx, new Counter(), { ...settings, scheduleDelay: never })
    const waiting = scheduler.collect(ctx)
    await scheduler[Symbol.asyncDispose]()
    await assert.rejects(waiting, /garbage collection has stopped/)
    await assert.rejects(scheduler.collect(ctx), /garbage collection has stopped/)
  })

  void test('settings out of bounds are brought back', () => {
    const odd = { pauseThreshold: 2, mutationThreshold: -1, scheduleDelay: -1, startupDelay: -1 }
    assert.deepEqual(bounded({ ...settings, ...odd }), { ...settings, pauseThreshold: 0.5 })
    assert.equal(bounded({ ...settings, pauseThreshold: -1 }).pauseThreshold, 0)
  })
})
