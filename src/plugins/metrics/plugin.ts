import { processMetrics } from '#lib/metrics/metrics.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { MetricsPlugin } from '#plugins/types.ts'

import { GrpcMetrics } from './grpc-prometheus.ts'

/** `io.containerd.metrics.v1.grpc-prometheus`: counts calls for the metrics endpoint. */
export const grpcPrometheusPlugin = definePlugin({
  type: MetricsPlugin,
  id: 'grpc-prometheus',
  config: {
    /** Keep how long calls take, too. */
    grpcHistogram: false,
  },
  describe: { grpcHistogram: 'keep how long calls take, in buckets, per method' },
  live: ['grpcHistogram'],
  init: ({ config }) => new GrpcMetrics(processMetrics, config.grpcHistogram),
  reload(metrics, { grpcHistogram }) {
    if (metrics instanceof GrpcMetrics) metrics.histogram = grpcHistogram
  },
})
