import { mkdirSync } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import type { HeldMounts, MountHandler } from '#core/mount/manager.ts'
import type { Mount } from '#core/mount/mount.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { ErofsHandler } from '#plugins/mounts/erofs/handler.ts'
import { LoopHandler } from '#plugins/mounts/loop.ts'
import { BoltMountManager } from '#plugins/mounts/manager.ts'

import { silent } from '#core/context.ts'

/** What the mount manager of every daemon can do. */
export const mountHandlers = new Map<string, MountHandler>([
  ['erofs', new ErofsHandler()],
  ['loop', new LoopHandler()],
])

/** Makes those of `mounts` that need a mount manager, by one of its own. */
export async function holdMounts(mounts: readonly Mount[]): Promise<HeldMounts> {
  await using scope = new AsyncDisposableStack()
  const dir = scope.use(await mkdtempDisposable(join(tmpdir(), 'held-'))).path
  const targets = join(dir, 't')
  mkdirSync(targets)
  const manager = scope.use(
    new BoltMountManager(await openDatabase(join(dir, 'mounts.db'), { noSync: true }), {
      targets,
      handlers: mountHandlers,
      roots: [tmpdir()],
      busyMs: 1000,
    }),
  )
  const ctx = { signal: new AbortController().signal, log: silent }
  const held = scope.use(await manager.hold(ctx, mounts))
  const owned = scope.move()
  return { system: held.system, [Symbol.asyncDispose]: async () => await owned.disposeAsync() }
}
