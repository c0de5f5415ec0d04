import type { Context } from '#core/context.ts'
import type { MountManager } from '#core/mount/manager.ts'
import { mountManagerSuite } from '#core/mount/testsuite.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { BoltMountManager } from '#plugins/mounts/manager.ts'
import { RemoteMountManager } from '#proxy/mounts.ts'
import { newContext } from '#testing/context.ts'
import { serve } from '#testing/serve.ts'

import { mountsApi } from './grpc.ts'

/** A manager on the other side of a connection, which goes with it. */
mountManagerSuite('remote', newContext, async (ctx, { dir, targets, handler }) => {
  const manager = new BoltMountManager(await openDatabase(`${dir}/mounts.db`), {
    targets,
    handlers: new Map([['remembered', handler]]),
    roots: [dir],
    busyMs: 200,
  })
  await manager.collector.recover(ctx)
  return await remote(ctx, manager)
})

async function remote(ctx: Context, manager: BoltMountManager): Promise<MountManager> {
  const served = await serve(ctx, [mountsApi(manager)], manager)
  return Object.assign(new RemoteMountManager(served.connection), {
    [Symbol.asyncDispose]: async () => await served[Symbol.asyncDispose](),
  })
}
