import { invalidArgument } from '#lib/errors/errors.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { EventPlugin } from '#plugins/types.ts'

import { defaultEvents, EventExchange } from './exchange.ts'

/** The one exchange of the daemon: what services publish and shims forward, subscribers get. */
export const exchangePlugin = definePlugin({
  type: EventPlugin,
  id: 'exchange',
  config: { logEvents: defaultEvents },
  describe: {
    logEvents:
      'How many of the latest events are kept, at least, for subscribers that come back, also over restarts; 0 for none on disk.',
  },
  init({ ctx, config: { logEvents }, rootDir, meta }) {
    if (!Number.isInteger(logEvents) || logEvents < 0) {
      throw invalidArgument(`log_events = ${logEvents} is no number of events`)
    }
    if (logEvents === 0) return new EventExchange(ctx)
    meta.exports['path'] = rootDir
    return new EventExchange(ctx, { dir: rootDir, events: logEvents })
  },
})
