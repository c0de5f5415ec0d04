import { invalidArgument } from '#lib/errors/errors.ts'
import { parseDuration } from '#lib/go/duration.ts'
import { definePlugin } from '#plugin/plugin.ts'
import {
  ContainerMonitorPlugin,
  ContainersService,
  NamespacesService,
  SnapshotsService,
  TasksService,
} from '#plugins/types.ts'

import { RestartMonitor } from './monitor.ts'

/** `io.containerd.monitor.container.v1.restart`: keeps containers running that are labelled so. */
export const restartPlugin = definePlugin({
  type: ContainerMonitorPlugin,
  id: 'restart',
  requires: {
    containers: ContainersService,
    namespaces: NamespacesService,
    snapshots: SnapshotsService,
    tasks: TasksService,
  },
  config: { interval: '10s', maxBackoff: '5m' },
  describe: {
    interval: 'How often containers that are to be kept running, or stopped, are looked at.',
    maxBackoff:
      'The longest time between two starts of a task that ends again within the interval; 0s for the interval.',
  },
  init({ ctx, config, meta, deps }) {
    meta.capabilities.push('no', 'always', 'on-failure', 'unless-stopped')
    const intervalMs = msOf('interval', config.interval) || 10_000
    const maxBackoffMs = msOf('max_backoff', config.maxBackoff)
    return new RestartMonitor(ctx, deps, { intervalMs, maxBackoffMs })
  },
})

function msOf(key: string, text: string): number {
  try {
    const ms = parseDuration(text)
    if (ms >= 0) return ms
  } catch (err) {
    throw invalidArgument(`${key} = ${JSON.stringify(text)}`, { cause: err })
  }
  throw invalidArgument(`${key} = ${JSON.stringify(text)} is negative`)
}
