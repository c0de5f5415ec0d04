import assert from 'node:assert/strict'

import { forCleanup } from '#core/context.ts'
import { hasCode } from '#lib/errors/errors.ts'
import { RemoteLeaseManager } from '#proxy/leases.ts'
import { RemoteSnapshotter } from '#proxy/snapshots.ts'
import { RemoteTaskManager } from '#proxy/tasks.ts'

import { stepMs, type World } from './world.ts'

/**
 * What a user does who wants everything gone: tasks, containers, what killed clients have left in
 * leases and snapshots. None of it is tried twice.
 *
 * @throws when anything cannot be deleted.
 */
export async function deleteAll(world: World): Promise<void> {
  const { client } = world
  const ctx = forCleanup(client.context(), stepMs)
  const { signal } = ctx
  const tasks = await new RemoteTaskManager(client.connection).list(ctx)
  await every(tasks, async ({ id }) => {
    const container = await client.containers.get(id, { signal })
    await (await container.task({ signal })).end({ signal })
  })
  await every(await client.containers.list([], { signal }), (each) => each.delete({ signal }))

  const leases = new RemoteLeaseManager(client.connection)
  await every(await leases.list(ctx), ({ id }) => leases.delete(ctx, id))
  const snapshotter = new RemoteSnapshotter(client.connection, 'overlayfs')
  const snapshots = await Array.fromAsync(snapshotter.list(ctx))
  const own = snapshots.filter(({ kind }) => kind !== 'committed')
  await every(own, ({ name }) => snapshotter.remove(ctx, name))

  const left = {
    tasks: (await new RemoteTaskManager(client.connection).list(ctx)).map(({ id }) => id),
    containers: (await client.containers.list([], { signal })).map(({ id }) => id),
    leases: (await leases.list(ctx)).map(({ id }) => id),
    snapshots: (await Array.fromAsync(snapshotter.list(ctx)))
      .filter(({ kind }) => kind !== 'committed')
      .map(({ name }) => name),
  }
  assert.deepEqual(left, { tasks: [], containers: [], leases: [], snapshots: [] })
}

/** All at once. What ends meanwhile by itself is gone, too. */
async function every<T>(things: readonly T[], remove: (thing: T) => Promise<void>): Promise<void> {
  await Promise.all(
    things.map(async (thing) => {
      try {
        await remove(thing)
      } catch (err) {
        if (!hasCode(err, 'not_found')) throw err
      }
    }),
  )
}
