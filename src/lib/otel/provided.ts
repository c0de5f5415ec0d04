import { trace } from '@opentelemetry/api'

import { ApiTrace } from './api-trace.ts'
import { OtlpExporter } from './exporter.ts'
import { Recorder } from './recorder.ts'
import type { OpenSender } from './sender.ts'
import type { OtlpSettings } from './settings.ts'
import type { Tracing, TracingOptions } from './tracing.ts'

const scope = 'wharf'

/** Tracing by the SDK that is registered already. */
export const provided = (options: TracingOptions): Tracing => ({
  trace: new ApiTrace(trace.getTracer(scope, options.version)),
  [Symbol.asyncDispose]: () => Promise.resolve(),
})

/** Loaded when it is needed: a shim host has little memory. */
async function senderFor({ transport }: OtlpSettings): Promise<OpenSender> {
  if (transport === 'grpc') return (await import('./grpc-sender.ts')).grpcSender
  return (await import('./http-sender.ts')).httpSender
}

/** Tracing by our own provider, which plugins that use the API get too. */
export async function exporting(read: OtlpSettings, options: TracingOptions): Promise<Tracing> {
  const pid = String(process.pid)
  const own = { 'service.version': options.version, 'process.pid': pid }
  const settings = { ...read, resource: { ...own, ...read.resource } }
  const open = await senderFor(settings)
  const exporter = new OtlpExporter(settings, open(settings), options.complain)
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
