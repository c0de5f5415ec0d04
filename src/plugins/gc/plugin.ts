import { formatDuration, parseDuration } from '#lib/go/duration.ts'
import { invalidArgument } from '#lib/errors/errors.ts'
import { processMetrics } from '#lib/metrics/metrics.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { GcPlugin, MetadataPlugin } from '#plugins/types.ts'

import { measured } from './measured.ts'
import { GcScheduler, type SchedulerSettings, bounded } from './scheduler.ts'

/** `[plugins."io.containerd.gc.v1.scheduler"]` in config.toml. */
export interface GcConfig {
  readonly pauseThreshold: number
  readonly deletionThreshold: number
  readonly mutationThreshold: number
  readonly scheduleDelay: string
  readonly startupDelay: string
}

const defaults: GcConfig = {
  pauseThreshold: 0.02,
  deletionThreshold: 0,
  mutationThreshold: 100,
  scheduleDelay: '0s',
  startupDelay: '100ms',
}

/** Decides when metadata collects what nothing refers to. */
export const gcPlugin = definePlugin({
  type: GcPlugin,
  id: 'scheduler',
  requires: { metadata: MetadataPlugin },
  config: defaults,
  describe: {
    pauseThreshold: 'The part of the time that collections may pause the daemon, 0 to 0.5.',
    deletionThreshold: 'Collect after this many deletions; 0 for as soon as the pauses allow.',
    mutationThreshold:
      'Collect at the next opportunity after this many writes; 0 for never because of writes.',
    scheduleDelay: 'How long a collection that was asked for waits.',
    startupDelay: 'How long after the start the first collection is; 0s for no such collection.',
  },
  live: ['pauseThreshold', 'deletionThreshold', 'mutationThreshold', 'scheduleDelay'],
  init({ ctx, config, meta, deps }) {
    const settings = settingsOf(config)
    meta.exports['PauseThreshold'] = String(settings.pauseThreshold)
    meta.exports['DeletionThreshold'] = String(settings.deletionThreshold)
    meta.exports['MutationThreshold'] = String(settings.mutationThreshold)
    meta.exports['ScheduleDelay'] = formatDuration(settings.scheduleDelay)
    const metadata = measured(deps.metadata, processMetrics)
    return new GcScheduler(ctx, metadata, settings).owning(metadata)
  },
  reload(scheduler, config) {
    if (scheduler instanceof GcScheduler) scheduler.configure(settingsOf(config))
  },
})

const settingsOf = (config: GcConfig): SchedulerSettings =>
  bounded({
    ...config,
    scheduleDelay: durationOf(config.scheduleDelay),
    startupDelay: durationOf(config.startupDelay),
  })

function durationOf(text: string): number {
  try {
    return parseDuration(text)
  } catch (err) {
    throw invalidArgument(err instanceof Error ? err.message : String(err), { cause: err })
  }
}
