import { hostPlatformName } from '#core/platforms/platforms.ts'
import { processMetrics } from '#lib/metrics/metrics.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { MetadataPlugin, RuntimePlugin, TaskMonitorPlugin } from '#plugins/types.ts'

import { collectTasks } from './collect.ts'

/** `io.containerd.monitor.task.v1.cgroups`: what the cgroups of tasks count, for the metrics endpoint. */
export const taskMetricsPlugin = definePlugin({
  type: TaskMonitorPlugin,
  id: 'cgroups',
  requires: { runtime: RuntimePlugin, metadata: MetadataPlugin },
  config: { noPrometheus: false },
  describe: { noPrometheus: 'Leave the cgroups of tasks out of the metrics endpoint.' },
  init({ ctx, config, meta, daemon, deps }) {
    meta.platforms.push(hostPlatformName)
    const parts = {
      tasks: deps.runtime,
      containers: deps.metadata.containers,
      timeoutMs: () => daemon.settings.timeout('io.containerd.timeout.metrics.shimstats'),
    }
    const scope = new AsyncDisposableStack()
    if (!config.noPrometheus) {
      scope.use(processMetrics.collect(async () => await collectTasks(ctx, parts)))
    }
    return { [Symbol.asyncDispose]: async () => await scope.disposeAsync() }
  },
})
