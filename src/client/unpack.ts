import type { Context } from '#core/context.ts'
import { aloneAnnotation } from '#core/diff/diff.ts'
import { rebaseCapability } from '#core/snapshots/snapshotter.ts'
import type { UnpackPlace } from '#core/unpack/unpack.ts'
import { Introspection } from '#gen/services/introspection_pb.ts'
import { KeyedMutex } from '#lib/async/keyed-mutex.ts'
import type { Connection } from '#lib/rpc/rpc.ts'
import { callOptions } from '#proxy/call.ts'

import type { Session } from './session.ts'

/** How many layers of one image are given to the daemon at once. It has a bound of its own. */
const layersAtOnce = 4

/** Where `session` unpacks to, when layers go to `snapshotter`. */
export function unpackPlace(session: Session, snapshotterName: string): UnpackPlace {
  const { connection, content, differ } = session
  return {
    content,
    differ,
    snapshotter: session.snapshotter(snapshotterName),
    snapshotterName,
    canRebase: async (ctx) => await canUnpackTogether(ctx, connection, snapshotterName),
    atOnce: layersAtOnce,
    locks: locksOf(connection),
  }
}

/**
 * Whether layers can be extracted alone: the snapshotter puts them on each other later, and the differ
 * tells of one that cannot. containerd's does not tell, and makes wrong directories of some.
 */
async function canUnpackTogether(
  ctx: Context,
  connection: Connection,
  snapshotter: string,
): Promise<boolean> {
  const introspection = connection.client(Introspection)
  const has = async (filter: string, capability: string): Promise<boolean> => {
    const { plugins } = await introspection.plugins({ filters: [filter] }, callOptions(ctx))
    return plugins.some(({ capabilities }) => capabilities.includes(capability))
  }
  const id = JSON.stringify(snapshotter)
  return (
    (await has(`type==io.containerd.snapshotter.v1,id==${id}`, rebaseCapability)) &&
    (await has('type==io.containerd.differ.v1', aloneAnnotation))
  )
}

/** Who unpacks what over a connection: all clients made from it share this. */
const allLocks = new WeakMap<Connection, KeyedMutex>()

const locksOf = (connection: Connection): KeyedMutex =>
  allLocks.getOrInsertComputed(connection, () => new KeyedMutex())
