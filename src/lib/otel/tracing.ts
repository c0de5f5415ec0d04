import type { Trace } from '#lib/trace/trace.ts'

import type { Complain } from './exporter.ts'
import { type OtlpSettings, readOtlpSettings } from './settings.ts'

/** Where this process's spans go. Disposal sends those that have ended. */
export interface Tracing extends AsyncDisposable {
  readonly trace: Trace
  /** Where spans are sent to; absent when a program that embeds this one has its own ways. */
  readonly settings?: OtlpSettings
}

export interface TracingOptions {
  /** What the process is called unless OTEL_SERVICE_NAME says otherwise. */
  readonly service: string
  readonly version: string
  readonly complain: Complain
}

/** What `@opentelemetry/api` 1.x keeps in the global object once an SDK is there. */
const apiKey = Symbol.for('opentelemetry.js.api.1')

/**
 * Begins to trace if the environment says where spans go, or an SDK has been registered with the
 * OpenTelemetry API. Otherwise undefined, and nothing more is loaded.
 *
 * @throws `invalid_argument` for variables that cannot be followed.
 */
export async function openTracing(
  env: NodeJS.ProcessEnv,
  options: TracingOptions,
): Promise<Tracing | undefined> {
  if (hasSdk()) return (await import('./provided.ts')).provided(options)
  const settings = readOtlpSettings(env, options.service)
  if (!settings) return undefined
  return await (await import('./provided.ts')).exporting(settings, options)
}

function hasSdk(): boolean {
  const api: unknown = Reflect.get(globalThis, apiKey)
  return typeof api === 'object' && api !== null && 'trace' in api
}
