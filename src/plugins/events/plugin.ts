import { definePlugin } from '#plugin/plugin.ts'
import { EventPlugin } from '#plugins/types.ts'

import { EventExchange } from './exchange.ts'

/** The one exchange of the daemon: what services publish and shims forward, subscribers get. */
export const exchangePlugin = definePlugin({
  type: EventPlugin,
  id: 'exchange',
  init: () => new EventExchange(),
})
