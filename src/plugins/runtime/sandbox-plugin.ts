import { chmodSync, mkdirSync } from 'node:fs'

import { definePlugin } from '#plugin/plugin.ts'
import { EventPlugin, RuntimePlugin, SandboxControllerPlugin } from '#plugins/types.ts'

import { ShimSandboxController } from './sandbox-controller.ts'
import { ShimPlugin } from './shim-plugin.ts'

/** `io.containerd.sandbox.controller.v1.shim`. */
export const sandboxControllerPlugin = definePlugin({
  type: SandboxControllerPlugin,
  id: 'shim',
  requires: { shims: ShimPlugin, tasks: RuntimePlugin, events: EventPlugin },
  init({ ctx, rootDir, stateDir, daemon, deps }) {
    for (const dir of [rootDir, stateDir]) {
      mkdirSync(dir, { recursive: true, mode: 0o700 })
      // An older containerd made it 0711.
      chmodSync(dir, 0o700)
    }
    const roots = { root: rootDir, state: stateDir }
    const { events, shims } = deps
    const { serving } = daemon
    return new ShimSandboxController({ ctx, roots, launcher: shims.launcher, events, serving })
  },
})
