import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { type Context, withTimeout } from '#core/context.ts'
import { describe, hasCode } from '#lib/errors/errors.ts'
import { isErrno } from '#sys/errno.ts'

import { type Bundle, type BundleRoots, bundleOf, hide } from './bundle.ts'
import { endEmptyShim } from './end-shim.ts'
import type { Launcher } from './launcher.ts'
import { initPid } from './revive.ts'
import { defaultRuntime } from './runtime-binary.ts'
import type { ShimProgram } from './shim-program.ts'
import type { Shim } from './shim.ts'
import { ShimTask } from './task.ts'

/** How often, and at what distance in ms, a shim is asked for a container that it may be making. */
const createTries = 8
const createPauseMs = 250

/** The bundles that an earlier daemon has left. */
export function findBundles(roots: BundleRoots): Bundle[] {
  return directories(roots.state).flatMap((namespace) =>
    directories(join(roots.state, namespace)).map((id) => bundleOf(roots, namespace, id)),
  )
}

/** The program that was started for a bundle. */
export function programOf(bundle: Bundle, launcher: Launcher): ShimProgram {
  try {
    const path = readFileSync(join(bundle.path, 'shim-binary-path'), 'utf8')
    return launcher.programOf(path)
  } catch (err) {
    if (!isErrno(err, 'ENOENT')) throw err
    return launcher.program(defaultRuntime)
  }
}

/**
 * Finds the task of a bundle again. Gives nothing for a shim that has no task: the daemon was cut
 * off while it made it, and the shim is ended.
 *
 * A shim that accepts connections but does not answer is only stopped: its task is kept.
 * @throws when the shim is gone.
 */
export async function recoverTask(
  ctx: Context,
  bundle: Bundle,
  launcher: Launcher,
): Promise<ShimTask | undefined> {
  const program = programOf(bundle, launcher)
  const loadMs = program.timeout('shim.load')
  const bounded = withTimeout({ ...ctx, namespace: bundle.namespace }, loadMs)
  const shim = await launcher.attach(bounded, bundle, program)
  try {
    const pid = await pidOf(bounded, shim)
    if (pid !== undefined) return new ShimTask(shim, pid)
    ctx.log.info('cleaning leaked shim process', { id: bundle.id })
    await endEmptyShim(ctx, shim)
    return undefined
  } catch (err) {
    if (hasCode(err, 'deadline_exceeded') && !ctx.signal.aborted && !shim.closed.aborted) {
      ctx.log.warn('shim does not answer', { id: bundle.id, error: describe(err) })
      return new ShimTask(shim, initPid(bundle))
    }
    await shim[Symbol.asyncDispose]()
    throw err
  }
}

/** Removes what deletions that were cut off have left: `.<id>`, and work directories of no bundle. */
export async function removeLeftovers(ctx: Context, { root, state }: BundleRoots): Promise<void> {
  for (const namespace of entries(state)) {
    const hidden = entries(join(state, namespace)).filter((name) => name.startsWith('.'))
    for (const name of hidden) await remove(ctx, join(state, namespace, name))
  }
  for (const namespace of entries(root)) {
    for (const name of entries(join(root, namespace))) {
      const path = join(root, namespace, name)
      // Between this look and the new name nothing else runs: a bundle comes with its directory.
      if (name.startsWith('.')) await remove(ctx, path)
      else if (!existsSync(join(state, namespace, name))) await remove(ctx, hide(path))
    }
  }
}

/**
 * The pid of the init process; nothing when the shim has no such container. One that it was just
 * making when the daemon was cut off is waited for.
 */
async function pidOf(ctx: Context, shim: Shim): Promise<number | undefined> {
  const { id } = shim.bundle
  const options = { signal: ctx.signal }
  for (let tries = 1; ; tries++) {
    try {
      const { pid } = await shim.firstCall(ctx, (calls) => calls.state({ id }, options))
      return pid
    } catch (err) {
      if (!hasCode(err, 'not_found')) throw err
      if (tries === createTries) return undefined
      await sleep(createPauseMs, undefined, options)
    }
  }
}

async function remove(ctx: Context, path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true })
  } catch (err) {
    ctx.log.error('cannot remove what a deleted task left', { path, error: describe(err) })
  }
}

const directories = (path: string): string[] =>
  entries(path).filter((name) => !name.startsWith('.'))

function entries(path: string): string[] {
  try {
    const found = readdirSync(path, { withFileTypes: true })
    return found.filter((entry) => entry.isDirectory()).map((entry) => entry.name)
  } catch (err) {
    if (!isErrno(err, 'ENOENT')) throw err
    return []
  }
}
