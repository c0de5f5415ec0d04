import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { type Context, withTimeout } from '#core/context.ts'
import { describe, hasCode } from '#lib/errors/errors.ts'

import type { Bundle } from './bundle.ts'
import type { Launcher } from './launcher.ts'
import type { ShimProgram } from './shim-program.ts'
import { ShimTask } from './task.ts'

/** How long one attempt may take, and the pauses between two: they grow, all in ms. */
const attemptMs = 30_000
const [firstPauseMs, lastPauseMs] = [250, 10_000] as const

/**
 * Has another host go on with the container of a host that is gone. Gives nothing when there is no
 * container to go on with: another program's shim, one that was never finished, an init that has
 * ended while nobody looked.
 *
 * As long as the container runs it is tried again: to give up would be to end it.
 * @throws when `ctx` is cancelled.
 */
export async function reviveTask(
  ctx: Context,
  bundle: Bundle,
  program: ShimProgram,
  launcher: Launcher,
): Promise<ShimTask | undefined> {
  if (!program.builtin || !hasRecord(bundle)) return undefined
  for (let pauseMs: number = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, lastPauseMs)) {
    try {
      return await attempt(ctx, bundle, program, launcher)
    } catch (err) {
      ctx.signal.throwIfAborted()
      if (hasCode(err, 'not_found') || !isAlive(initPid(bundle))) return undefined
      const { namespace, id } = bundle
      ctx.log.warn('no shim host in the place of one that is gone, trying again', {
        namespace,
        id,
        error: describe(err),
      })
    }
    await sleep(pauseMs, undefined, { signal: ctx.signal })
  }
}

async function attempt(
  ctx: Context,
  bundle: Bundle,
  program: ShimProgram,
  launcher: Launcher,
): Promise<ShimTask> {
  const { id, namespace } = bundle
  const shim = await launcher.revive(withTimeout(ctx, attemptMs), bundle, program)
  try {
    const timeoutMs = program.timeout('shim.load')
    const { pid } = await shim.calls.state({ id }, { signal: ctx.signal, timeoutMs })
    ctx.log.info('another shim host has the task', { namespace, id, pid })
    return new ShimTask(shim, pid)
  } catch (err) {
    await shim[Symbol.asyncDispose]()
    throw err
  }
}

/** Whether the container of a bundle was made to its end, so that somebody may have heard of it. */
export const wasCreated = (bundle: Bundle, { builtin }: ShimProgram): boolean =>
  builtin ? hasRecord(bundle) : initPid(bundle) > 0

/** Our own host writes down what another one has to know. */
const hasRecord = ({ path }: Bundle): boolean => existsSync(join(path, 'container.json'))

/** The pid of the init process as the OCI runtime has noted it; 0 if it has not. */
export function initPid(bundle: Bundle): number {
  try {
    return Number(readFileSync(join(bundle.path, 'init.pid'), 'utf8')) || 0
  } catch {
    // Not every shim writes it.
    return 0
  }
}

function isAlive(pid: number): boolean {
  try {
    return pid > 0 && process.kill(pid, 0)
  } catch {
    return false
  }
}
