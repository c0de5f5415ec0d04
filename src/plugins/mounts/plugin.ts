import { mkdirSync } from 'node:fs'
import { join } from 'node:path'

import type { MountHandler } from '#core/mount/manager.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { definePlugin, each } from '#plugin/plugin.ts'
import { MetadataPlugin, MountHandlerPlugin, MountManagerPlugin } from '#plugins/types.ts'
import { tryLock } from '#sys/flock.ts'

import { LoopHandler } from './loop.ts'
import { BoltMountManager } from './manager.ts'

/** How long another daemon may take to let go of the file, in ms. */
const lockTimeoutMs = 1000
/** How long a mount that is in use is waited for, in ms: as long as containerd does. */
const busyMs = 2500

/** `io.containerd.mount-manager.v1.bolt`: `mounts.db`, and below `t` the mounts. */
export const mountManagerPlugin = definePlugin({
  type: MountManagerPlugin,
  id: 'bolt',
  requires: { metadata: MetadataPlugin, handlers: each(MountHandlerPlugin) },
  async init({ ctx, daemon, stateDir, deps }) {
    const targets = join(stateDir, 't')
    mkdirSync(targets, { recursive: true, mode: 0o700 })
    await using scope = new AsyncDisposableStack()
    const db = await openDatabase(join(stateDir, 'mounts.db'), {
      signal: ctx.signal,
      lock: tryLock,
      keepRoom: true,
      lockTimeoutMs,
    })
    const handlers = new Map<string, MountHandler>([['loop', new LoopHandler()], ...deps.handlers])
    const roots = [targets, daemon.root]
    const manager = scope.use(new BoltMountManager(db, { targets, handlers, roots, busyMs }))
    await manager.collector.recover(ctx)
    manager.register(deps.metadata)
    scope.move()
    return manager
  },
})
