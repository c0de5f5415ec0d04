import type { WarningId, Warnings } from '#core/warnings/warnings.ts'

import type { Config } from './config/config.ts'

/** Sections of the configuration whose every key is deprecated, by the plugin they were for. */
const sections: ReadonlyMap<string, WarningId> = new Map([
  ['io.containerd.internal.v1.tracing', 'io.containerd.deprecation/tracing-service-config'],
  ['io.containerd.tracing.processor.v1.otlp', 'io.containerd.deprecation/tracing-processor-config'],
])

/** Notes what a configuration asks for that will go, so that `ctr deprecations list` has it. */
export function noteDeprecations({ inertKeys }: Pick<Config, 'inertKeys'>, to: Warnings): void {
  for (const [table, uri = ''] of inertKeys) {
    const id = table === 'plugins' ? sections.get(uri) : undefined
    if (id !== undefined) to.emit(id)
  }
}
