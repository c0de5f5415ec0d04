/** Features that still work and will not for ever, by upstream's ids (`pkg/deprecation`). */
const messages = {
  'io.containerd.deprecation/cgroup-v1':
    'This host uses cgroup v1, which containerd has deprecated since 2.2 and drops by May 2029. Boot it with cgroup v2.',
  'io.containerd.deprecation/cri-cni-bin-dir':
    '`bin_dir` in [plugins."io.containerd.cri.v1.runtime".cni] is deprecated since containerd 2.1. Use `bin_dirs`.',
  'io.containerd.deprecation/cri-registry-auths':
    '`auths` in the registry section of CRI is deprecated since containerd 1.3. Use image pull secrets.',
  'io.containerd.deprecation/cri-registry-configs':
    '`configs` in the registry section of CRI is deprecated since containerd 1.5. Use `config_path`.',
  'io.containerd.deprecation/cri-registry-mirrors':
    '`mirrors` in the registry section of CRI is deprecated since containerd 1.5. Use `config_path`.',
  'io.containerd.deprecation/enable-cdi':
    '`enable_cdi` in [plugins."io.containerd.cri.v1.runtime"] is deprecated: CDI is always on.',
  'io.containerd.deprecation/runc-options-task-api-address':
    '`task_api_address` in the options of runc is deprecated since containerd 2.3. Set it on CreateTaskRequest.',
  'io.containerd.deprecation/runc-options-task-api-version':
    '`task_api_version` in the options of runc is deprecated since containerd 2.3. Set it on CreateTaskRequest.',
  'io.containerd.deprecation/tracing-processor-config':
    'Settings in [plugins."io.containerd.tracing.processor.v1.otlp"] are deprecated since containerd 1.6. Use the OTEL_* environment variables.',
  'io.containerd.deprecation/tracing-service-config':
    'Settings in [plugins."io.containerd.internal.v1.tracing"] are deprecated since containerd 1.6. Use the OTEL_* environment variables.',
} as const

/** Names what is deprecated; clients filter by it. */
export type WarningId = keyof typeof messages

/** A deprecated feature that is in use. */
export interface Warning {
  readonly id: WarningId
  readonly message: string
  /** When its use was last noticed. */
  readonly lastOccurrence: Date
}

/** Keeps what `ctr deprecations list` shows. */
export interface Warnings {
  /** Notes that a deprecated feature is being used, now. */
  emit(id: WarningId): void
  /** What has been noticed so far, each once. */
  warnings(): readonly Warning[]
}

/** Warnings of one daemon; a restart begins anew. */
export function createWarnings(): Warnings {
  const noticed = new Map<WarningId, Warning>()
  return {
    emit(id) {
      noticed.set(id, { id, message: messages[id], lastOccurrence: new Date() })
    },
    warnings: () => [...noticed.values()],
  }
}
