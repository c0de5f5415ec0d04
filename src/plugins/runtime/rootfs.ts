import { fromBinary } from '@bufbuild/protobuf'

import type { Any } from '#core/any/any.ts'
import { type Context, forCleanup, withNamespace } from '#core/context.ts'
import type { Activation, LocalMountManager } from '#core/mount/manager.ts'
import type { Mount } from '#core/mount/mount.ts'
import { RuntimeInfoSchema } from '#gen/types/introspection_pb.ts'
import { describe, hasCode } from '#lib/errors/errors.ts'

import type { Bundle } from './bundle.ts'
import type { ShimProgram } from './shim-program.ts'

/** What a shim's program tells. */
type Program = Pick<ShimProgram, 'builtin' | 'info' | 'path'>

/** The activation lives while the container does. */
const backReference = 'containerd.io/gc.bref.container'
/** In what a shim tells of itself: types of mounts that it makes itself, separated by commas. */
const allowMounts = 'containerd.io/runtime-allow-mounts'

/**
 * Has the mount manager make what a task's root stands on, as far as shim and kernel do not know such
 * mounts. @returns what is left to the shim.
 *
 * @throws whatever the manager says.
 */
export async function activateRootfs(
  ctx: Context,
  { bundle, program }: { readonly bundle: Bundle; readonly program: Program },
  rootfs: readonly Mount[],
  options: Any | undefined,
): Promise<readonly Mount[]> {
  const { id, namespace, mounts } = bundle
  if (!mounts?.handles(rootfs)) return rootfs
  const own = withNamespace(ctx, namespace)
  const allow = await allowedMounts(own, program, options)
  if (!mounts.handles(rootfs, { allow })) return rootfs
  const activation = await activate(own, mounts, id, { rootfs, allow })
  const { active, system } = activation
  const last = active.at(-1)
  if (system.length > 0 || !last) return system
  return [{ type: 'bind', source: last.mountPoint, options: ['rbind'] }]
}

/** Undoes it, if there is something to undo; what cannot be undone is for the collector. */
export async function deactivateRootfs(ctx: Context, bundle: Bundle): Promise<void> {
  const { id, namespace, mounts } = bundle
  try {
    await mounts?.deactivate(forCleanup(withNamespace(ctx, namespace)), id)
  } catch (err) {
    if (hasCode(err, 'not_found')) return
    ctx.log.error('failed to deactivate mounts', { id, error: describe(err) })
  }
}

/** A task whose predecessor's mounts could not be undone goes on with those: its container is the same. */
async function activate(
  ctx: Context,
  mounts: LocalMountManager,
  id: string,
  { rootfs, allow }: { readonly rootfs: readonly Mount[]; readonly allow: readonly string[] },
): Promise<Activation> {
  try {
    const labels = { [backReference]: id }
    return await mounts.activate(ctx, id, rootfs, { labels, allow })
  } catch (err) {
    if (!hasCode(err, 'already_exists')) throw err
    return await mounts.info(ctx, id)
  }
}

async function allowedMounts(
  ctx: Context,
  program: Program,
  options: Any | undefined,
): Promise<readonly string[]> {
  // Our own makes none, and asking it takes as long as starting it.
  if (program.builtin) return []
  try {
    const { value } = await program.info(ctx, options)
    const { annotations } = fromBinary(RuntimeInfoSchema, value)
    return annotations[allowMounts]?.split(',').filter(Boolean) ?? []
  } catch (err) {
    ctx.log.warn('failed to load runtime info', { runtime: program.path, error: describe(err) })
    return []
  }
}
