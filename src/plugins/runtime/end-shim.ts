import { create, toBinary } from '@bufbuild/protobuf'

import { type Context, forCleanup } from '#core/context.ts'
import type { Publisher } from '#core/events/events.ts'
import type { Exit } from '#core/runtime/runtime.ts'
import { TaskDeleteSchema, TaskExitSchema } from '#gen/events/task_pb.ts'
import { raceAbort } from '#lib/async/mutex.ts'
import { describe, hasCode } from '#lib/errors/errors.ts'

import { type Bundle, deleteBundle } from './bundle.ts'
import { deactivateRootfs } from './rootfs.ts'
import type { ShimProgram } from './shim-program.ts'
import type { Shim } from './shim.ts'
import { now } from './wire.ts'

/** How long the creation of a task that nobody wants any more may go on. */
const createMs = 10_000

/** Ends the shim of a task that has been deleted, unless it serves others, and removes the bundle. */
export async function endShim(ctx: Context, shim: Shim): Promise<void> {
  if (!shim.grouped) await shutdown(ctx, shim)
  await shim[Symbol.asyncDispose]()
  await removeBundle(ctx, shim.bundle)
}

/** Undoes a start that failed, or that nobody waits for any more. */
export async function abandonStart(
  ctx: Context,
  bundle: Bundle,
  starting: Promise<Shim>,
): Promise<void> {
  // Whoever started it has the error.
  const shim = await starting.catch(() => undefined)
  if (shim) await endShim(ctx, shim)
  else await removeBundle(ctx, bundle)
}

/**
 * Ends a shim that has no container, and removes what the making of one has left behind its back:
 * an OCI runtime that was cut off leaves its state, and even a process.
 */
export async function endEmptyShim(ctx: Context, shim: Shim): Promise<void> {
  if (!shim.grouped) await shutdown(ctx, shim)
  await cleanUp(ctx, shim.program, shim.bundle)
  await shim[Symbol.asyncDispose]()
  await removeBundle(ctx, shim.bundle)
}

/**
 * Undoes what a failed `create` has made. A creation under way is waited for: what it makes in the
 * end could not be removed by anybody else.
 */
export async function abandonShim(
  ctx: Context,
  shim: Shim,
  creating: Promise<unknown>,
): Promise<void> {
  const { id } = shim.bundle
  let isOver = false
  try {
    await raceAbort(Promise.allSettled([creating]), AbortSignal.timeout(createMs))
    isOver = true
    await shim.calls.delete({ id }, { timeoutMs: shim.program.timeout('shim.cleanup') })
    await endShim(ctx, shim)
  } catch (err) {
    // There is nothing to delete when the shim could not create it, as it should be.
    if (isOver && hasCode(err, 'not_found')) await endShim(ctx, shim)
    else await endEmptyShim(ctx, shim)
  }
}

/** Has the shim's program remove what is left of a container whose shim is gone. */
export async function cleanUp(
  ctx: Context,
  program: ShimProgram,
  bundle: Bundle,
  pid = 0,
): Promise<Exit> {
  const log = ctx.log.with({ namespace: bundle.namespace, id: bundle.id })
  log.info('cleaning up after shim disconnected')
  try {
    const bounded = forCleanup({ ...ctx, log }, program.timeout('shim.cleanup'))
    return await program.delete(bounded, bundle)
  } catch (err) {
    log.warn('failed to clean up after shim disconnected', { error: describe(err) })
    return { pid, status: 255, exitedAt: now() }
  }
}

/** Tells of the end of a task, in place of its shim. */
export function publishDeath(
  ctx: Context,
  events: Publisher,
  { id, namespace }: Pick<Bundle, 'id' | 'namespace'>,
  exit: Exit,
): void {
  const at = { ...ctx, namespace }
  const { pid, status: exitStatus, exitedAt = now() } = exit
  const common = { containerId: id, pid, exitStatus, exitedAt }
  const exited = create(TaskExitSchema, { ...common, id })
  events.publish(at, '/tasks/exit', {
    typeUrl: TaskExitSchema.typeName,
    value: toBinary(TaskExitSchema, exited),
  })
  events.publish(at, '/tasks/delete', {
    typeUrl: TaskDeleteSchema.typeName,
    value: toBinary(TaskDeleteSchema, create(TaskDeleteSchema, common)),
  })
}

/** Removes a bundle and what its root stands on; one that cannot be removed is for the next start of the daemon. */
export async function removeBundle(ctx: Context, bundle: Bundle): Promise<void> {
  try {
    await deleteBundle(bundle)
    await deactivateRootfs(ctx, bundle)
  } catch (err) {
    ctx.log.error('failed to delete bundle', { path: bundle.path, error: describe(err) })
  }
}

/** Asks a shim to end; it does when it has no other container. Its leaving may cut its answer off. */
async function shutdown(ctx: Context, shim: Shim): Promise<void> {
  const { id } = shim.bundle
  try {
    const timeoutMs = shim.program.timeout('shim.shutdown')
    if (!shim.closed.aborted) await shim.calls.shutdown({ id }, { timeoutMs })
  } catch (err) {
    if (shim.closed.aborted) return
    ctx.log.error('failed to shut the shim down, it may be leaked', { id, error: describe(err) })
  }
}
