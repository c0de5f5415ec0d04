import { type PluginStatus, definePlugin, pluginType } from '#plugin/plugin.ts'

/** What the daemon knows of its own plugins. */
export interface PluginList {
  /** Every plugin whose start has been tried, in order. */
  plugins(): readonly PluginStatus[]
}

/** Only the API beside this needs it. */
export const IntrospectionService = pluginType<PluginList>('io.containerd.service.v1')

/** `io.containerd.service.v1.introspection-service`. */
export const introspectionServicePlugin = definePlugin({
  type: IntrospectionService,
  id: 'introspection-service',
  init: ({ daemon }) => ({ plugins: () => daemon.plugins() }),
})
