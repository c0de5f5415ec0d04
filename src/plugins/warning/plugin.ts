import { createWarnings } from '#core/warnings/warnings.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { WarningPlugin } from '#plugins/types.ts'
import { cgroupMode } from '#sys/cgroup.ts'

/** `io.containerd.warning.v1.deprecations`: what is in use here and will not work for ever. */
export const deprecationsPlugin = definePlugin({
  type: WarningPlugin,
  id: 'deprecations',
  init() {
    const warnings = createWarnings()
    if (cgroupMode() !== 'unified') warnings.emit('io.containerd.deprecation/cgroup-v1')
    return warnings
  },
})
