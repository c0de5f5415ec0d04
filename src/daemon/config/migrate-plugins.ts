import type { Branch } from './tree.ts'

/** Plugins that version 3 gave another URI. */
const renamed: Readonly<Record<string, string>> = {
  'io.containerd.monitor.v1.cgroups': 'io.containerd.monitor.task.v1.cgroups',
  'io.containerd.internal.v1.restart': 'io.containerd.monitor.container.v1.restart',
}

/**
 * From version 2 to 3, but for the CRI plugin: new names of plugins, and core scheduling, which became
 * a variable in the environment of shims. The new name wins where a file has both.
 *
 * Source: upstream `core/metrics/cgroups/cgroups.go`, `plugins/restart/monitor.go`,
 * `core/runtime/v2/shim_manager.go`. Unlike there, an `env` that is already set is kept.
 */
export function migratePlugins(plugins: Branch): void {
  for (const [from, to] of Object.entries(renamed)) {
    const node = plugins.take(from)
    if (node && !plugins.get(to)) plugins.set(to, node)
  }
  const task = plugins.branch('io.containerd.runtime.v2.task')
  const schedCore = task?.leaf('sched_core')
  if (typeof schedCore?.value !== 'boolean') return
  task?.take('sched_core')
  const manager = 'io.containerd.shim.v1.manager'
  if (!schedCore.value || plugins.branch(manager)?.get('env')) return
  plugins.ensure(manager).set('env', { value: ['SCHED_CORE=1'], origin: schedCore.origin })
}
