import { trace } from '@opentelemetry/api'

import { ApiTrace } from './api-trace.ts'
import { OtlpExporter } from './exporter.ts'
import { Recorder } from './recorder.ts'
import type { OtlpSettings } from './settings.ts'
import type { Tracing, TracingOptions } from './tracing.ts'

const scope = 'wharf'

/** Tracing by the SDK that is registered already. */
export const provided = (options: TracingOptions): Tracing => ({
  trace: new ApiTrace(trace.getTracer(scope, options.version)),
  [Symbol.asyncDispose]: () => Promise.resolve(),
})

/** Tracing by our own provider, which plugins that use the API get too. */
export function exporting(read: OtlpSettings, options: TracingOptions): Tracing {
  const pid = String(process.pid)
  const own = { 'service.version': options.version, 'process.pid': pid }
  const settings = { ...read, resource: { ...own, ...read.resource } }
  const exporter = new OtlpExporter(settings, options.complain)
  const recorder = new Recorder(settings.sampler, (span) => exporter.add(span))
  const registered = trace.setGlobalTracerProvider(recorder)
  return {
    trace: new ApiTrace(recorder.getTracer(scope)),
    settings,
    async [Symbol.asyncDispose]() {
      if (registered) trace.disable()
      await exporter[Symbol.asyncDispose]()
    },
  }
}
