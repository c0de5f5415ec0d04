import type { StreamProcessor } from '#core/diff/processors.ts'

/**
 * What may change while the daemon runs: `config.toml` is read again on SIGHUP. Ask when it is
 * needed, and keep no copy.
 */
export interface Settings {
  /**
   * How long to wait, in ms: an entry of `[timeouts]`, such as `io.containerd.timeout.shim.load`.
   * A name that nobody has set or registered gives a second, as upstream's `pkg/timeout` does.
   */
  timeout(name: string): number
  /** Programs that turn layers into others, in the order of the configuration. */
  streamProcessors(): readonly StreamProcessor[]
}

/** `[timeouts]` when the configuration says nothing, in ms. Zero waits without end. */
export const defaultTimeouts: Readonly<Record<string, number>> = {
  'io.containerd.timeout.bolt.open': 0,
  'io.containerd.timeout.cri.defercleanup': 60_000,
  'io.containerd.timeout.diff.processor': 600_000,
  'io.containerd.timeout.metrics.shimstats': 2000,
  'io.containerd.timeout.shim.cleanup': 5000,
  'io.containerd.timeout.shim.load': 5000,
  'io.containerd.timeout.shim.shutdown': 3000,
  'io.containerd.timeout.task.state': 2000,
  'io.wharf.timeout.sandbox.away': 120_000,
  'io.wharf.timeout.task.create': 600_000,
  'io.wharf.timeout.task.delete': 60_000,
  'io.wharf.timeout.task.exec': 600_000,
  'io.wharf.timeout.task.kill': 60_000,
  'io.wharf.timeout.task.start': 600_000,
}

/** For a timeout that has no entry and no default, in ms. */
export const unnamedTimeoutMs = 1000

/** The settings of a daemon that is not configured: default timeouts and no stream processors. */
export const defaultSettings: Settings = {
  timeout: (name) => defaultTimeouts[name] ?? unnamedTimeoutMs,
  streamProcessors: () => [],
}
