import type { Any } from '#core/any/any.ts'
import type { Context } from '#core/context.ts'
import type { CreateOptions } from '#core/runtime/runtime.ts'
import { span } from '#core/trace.ts'
import { raceAbort } from '#lib/async/mutex.ts'

import type { Bundle } from './bundle.ts'
import { abandonShim, abandonStart } from './end-shim.ts'
import { requireIdMappedMounts, usesIdMappedMounts } from './features.ts'
import type { Launcher } from './launcher.ts'
import type { Pending } from './pending.ts'
import { activateRootfs } from './rootfs.ts'
import { sandboxEndpoint } from './sandbox-endpoint.ts'
import type { RuntimeSettings } from './settings.ts'
import type { ShimProgram } from './shim-program.ts'
import type { Shim } from './shim.ts'
import { ShimTask } from './task.ts'

/** How long the program of a shim may take to start one. */
const startMs = 60_000

/** What the creation of a task needs beyond its bundle. */
export interface Creation {
  /** Of the daemon: what is undone is undone whether or not the caller stays. */
  readonly daemon: Context
  readonly launcher: Launcher
  readonly settings: RuntimeSettings
  readonly pending: Pending
}

/**
 * Makes the task of a new bundle: starts its shim and has that create the container. When it fails,
 * or the caller leaves, nothing stays, and the bundle is removed too.
 *
 * What has begun is not cut off but undone when it is done: nobody else could find it.
 */
export async function createTask(
  ctx: Context,
  bundle: Bundle,
  options: CreateOptions,
  creation: Creation,
): Promise<ShimTask> {
  const shim = await span(ctx, 'shim start', async (own) => {
    return await startShim(own, bundle, options, creation)
  })
  const lasting = { ...ctx, signal: creation.daemon.signal }
  const creating = span(lasting, 'shim create', async (own) => {
    return await callCreate(own, shim, options, creation)
  })
  try {
    return new ShimTask(shim, await raceAbort(creating, ctx.signal))
  } catch (err) {
    const undone = creation.pending.add(abandonShim(creation.daemon, shim, creating))
    if (!ctx.signal.aborted) await undone
    throw new Error('failed to create shim task', { cause: err })
  }
}

async function startShim(
  ctx: Context,
  bundle: Bundle,
  options: CreateOptions,
  creation: Creation,
): Promise<Shim> {
  const { daemon, pending } = creation
  // A program that is killed may just have left a shim behind.
  const own = { ...daemon, trace: ctx.trace, signal: AbortSignal.timeout(startMs) }
  const starting = launch(own, bundle, options, creation)
  try {
    return await raceAbort(starting, ctx.signal)
  } catch (err) {
    const undone = pending.add(abandonStart(daemon, bundle, starting))
    if (!ctx.signal.aborted) await undone
    throw new Error('failed to start shim', { cause: err })
  }
}

async function launch(
  ctx: Context,
  bundle: Bundle,
  options: CreateOptions,
  { launcher, settings }: Creation,
): Promise<Shim> {
  const program = findProgram(options.runtime, launcher)
  const given = optionsFor(options, program, settings)
  if (usesIdMappedMounts(options.spec)) await checkFeatures(ctx, program, given)
  const endpoint = await sandboxEndpoint(ctx, bundle.namespace, options, settings)
  if (endpoint) {
    return await launcher.join(ctx, bundle, program, { sandbox: options.sandbox, endpoint })
  }
  try {
    return await launcher.start(ctx, bundle, program, given)
  } catch (err) {
    throw new Error('start failed', { cause: err })
  }
}

function findProgram(runtime: string, launcher: Launcher): ShimProgram {
  try {
    return launcher.program(runtime)
  } catch (err) {
    throw new Error('failed to resolve runtime path', { cause: err })
  }
}

async function checkFeatures(
  ctx: Context,
  program: ShimProgram,
  options: Any | undefined,
): Promise<void> {
  try {
    requireIdMappedMounts(await program.info(ctx, options))
  } catch (err) {
    throw new Error('failed to validate OCI runtime features', { cause: err })
  }
}

/** The create call; gives the pid of the init process. */
async function callCreate(
  ctx: Context,
  shim: Shim,
  options: CreateOptions,
  { settings }: Creation,
): Promise<number> {
  const { stdin, stdout, stderr, terminal, checkpoint } = options
  const taskOptions = optionsFor(options, shim.program, settings)
  const rootfs = await activateRootfs(ctx, shim, options.rootfs, taskOptions)
  const request = {
    id: shim.bundle.id,
    bundle: shim.bundle.path,
    rootfs: rootfs.map((mount) => ({ ...mount, options: [...mount.options] })),
    stdin,
    stdout,
    stderr,
    terminal,
    checkpoint,
    ...(taskOptions ? { options: taskOptions } : {}),
  }
  const { pid } = await shim.firstCall(ctx, async () => {
    return await shim.ask(ctx, 'create', (calls, asked) => calls.create(request, asked))
  })
  return pid
}

/** Options for the built-in host name the OCI runtime; others have one of their own. */
function optionsFor(
  { taskOptions, runtimeOptions }: CreateOptions,
  { builtin }: Pick<ShimProgram, 'builtin'>,
  { ociRuntimes }: RuntimeSettings,
): Any | undefined {
  const given = taskOptions && taskOptions.value.length > 0 ? taskOptions : runtimeOptions
  return builtin && ociRuntimes ? ociRuntimes.complete(given) : given
}
