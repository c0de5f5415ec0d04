import { readOtlpSettings } from '#lib/otel/settings.ts'
import { definePlugin, each, SkipPlugin } from '#plugin/plugin.ts'
import { InternalPlugin, TracingProcessorPlugin } from '#plugins/types.ts'

/*
 * Spans are made, and sent, from before the first plugin starts until after the last one has
 * stopped, so that is not a plugin's to do. These say whether it is done, under upstream's names.
 */

const notConfigured = 'tracing endpoint not configured'

/** `io.containerd.tracing.processor.v1.otlp`: skipped unless the environment has an endpoint. */
export const otlpPlugin = definePlugin({
  type: TracingProcessorPlugin,
  id: 'otlp',
  init({ meta }) {
    const settings = readOtlpSettings(process.env, '')
    if (!settings) throw new SkipPlugin(notConfigured)
    const url = String(settings.url)
    meta.exports['endpoint'] = url
    return { url }
  },
})

/** `io.containerd.internal.v1.tracing`: skipped unless something is traced. */
export const tracingPlugin = definePlugin({
  type: InternalPlugin,
  id: 'tracing',
  requires: { processors: each(TracingProcessorPlugin) },
  init({ ctx }) {
    if (!ctx.trace) throw new SkipPlugin(notConfigured)
    return {}
  },
})
