import type { Warning } from '#core/warnings/warnings.ts'
import { type PluginStatus, definePlugin, pluginType } from '#plugin/plugin.ts'
import { WarningPlugin } from '#plugins/types.ts'

/** What the daemon knows of itself. */
export interface SelfKnowledge {
  /** Every plugin whose start has been tried, in order. */
  plugins(): readonly PluginStatus[]
  /** Deprecated features that are in use. */
  warnings(): readonly Warning[]
}

/** Only the API beside this needs it. */
export const IntrospectionService = pluginType<SelfKnowledge>('io.containerd.service.v1')

/** `io.containerd.service.v1.introspection-service`. */
export const introspectionServicePlugin = definePlugin({
  type: IntrospectionService,
  id: 'introspection-service',
  requires: { warnings: WarningPlugin },
  init: ({ daemon, deps }) => ({
    plugins: () => daemon.plugins(),
    warnings: () => deps.warnings.warnings(),
  }),
})
