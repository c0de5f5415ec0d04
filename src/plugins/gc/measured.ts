import { Counter, Histogram, type MetricSet } from '#lib/metrics/metrics.ts'

import type { Collectable } from './scheduler.ts'

/** Something to collect that counts its collections, until it is disposed. */
export interface Measured extends Collectable, Disposable {}

/** Shows in `set` how often `collectable` was collected, and for how long others waited, by upstream's names. */
export function measured(collectable: Collectable, set: MetricSet): Measured {
  const collections = new Counter({
    name: 'containerd_gc_collections_total',
    help: 'Garbage collections, by how they ended.',
    labels: ['status'],
  })
  const took = new Histogram({
    name: 'containerd_gc_gc_seconds',
    help: 'How long garbage collections kept others waiting, in seconds.',
  })
  const shown = set.add(collections, took)
  return {
    async collect(ctx) {
      try {
        const stats = await collectable.collect(ctx)
        collections.with('success').value++
        took.with().observe(stats.pausedMs / 1000)
        return stats
      } catch (err) {
        collections.with('fail').value++
        throw err
      }
    },
    onMutation: (listener) => collectable.onMutation(listener),
    [Symbol.dispose]: () => shown[Symbol.dispose](),
  }
}
