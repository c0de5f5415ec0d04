import type { Family, MetricSet } from '#lib/metrics/metrics.ts'

/** A text for a scrape, and what to call it. */
export interface Exposition {
  readonly contentType: string
  text(): Promise<string>
}

/**
 * Renders `set` and the process's own numbers (CPU, memory, descriptors, event loop, heap) in the
 * text form of Prometheus.
 *
 * The library is loaded here and not before: it takes some 50 ms, and most daemons are not scraped.
 */
export async function exposition(set: MetricSet): Promise<Exposition> {
  // It is CommonJS, of which a bundle has the default alone.
  const { default: prometheus } = await import('prom-client')
  const { AggregatorRegistry, Registry, collectDefaultMetrics } = prometheus
  const own = new Registry()
  collectDefaultMetrics({ register: own })
  return {
    contentType: own.contentType,
    text: async () => {
      const told = AggregatorRegistry.aggregate([(await set.gather()).map(toObject)])
      return `${await told.metrics()}\n${await own.metrics()}`
    },
  }
}

/** As `prom-client` hands metrics between processes; families of one name are added up. */
const toObject = (family: Family) => ({
  name: family.name,
  help: family.help,
  type: family.type,
  aggregator: 'sum',
  values: [...family.samples()].map(({ name, labels, value }) => ({
    labels,
    value,
    ...(name ? { metricName: name } : {}),
  })),
})
