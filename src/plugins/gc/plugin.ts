import { formatDuration, parseDuration } from '#lib/go/duration.ts'
import { invalidArgument } from '#lib/errors/errors.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { GcPlugin, MetadataPlugin } from '#plugins/types.ts'

import { GcScheduler, bounded } from './scheduler.ts'

/** Decides when metadata collects what nothing refers to. */
export const gcPlugin = definePlugin({
  type: GcPlugin,
  id: 'scheduler',
  requires: { metadata: MetadataPlugin },
  config: {
    /** The part of the time that collections may pause the daemon, 0 to 0.5. */
    pauseThreshold: 0.02,
    /** Collect after this many deletions; 0 for as soon as the pauses allow. */
    deletionThreshold: 0,
    /** Collect at the next opportunity after this many writes; 0 for never because of writes. */
    mutationThreshold: 100,
    /** How long a collection that was asked for waits. */
    scheduleDelay: '0s',
    /** How long after the start the first collection is; 0 for no such collection. */
    startupDelay: '100ms',
  },
  init({ ctx, config, meta, deps }) {
    const settings = bounded({
      ...config,
      scheduleDelay: durationOf(config.scheduleDelay),
      startupDelay: durationOf(config.startupDelay),
    })
    meta.exports['PauseThreshold'] = String(settings.pauseThreshold)
    meta.exports['DeletionThreshold'] = String(settings.deletionThreshold)
    meta.exports['MutationThreshold'] = String(settings.mutationThreshold)
    meta.exports['ScheduleDelay'] = formatDuration(settings.scheduleDelay)
    return new GcScheduler(ctx, deps.metadata, settings)
  },
})

function durationOf(text: string): number {
  try {
    return parseDuration(text)
  } catch (err) {
    throw invalidArgument(err instanceof Error ? err.message : String(err), { cause: err })
  }
}
