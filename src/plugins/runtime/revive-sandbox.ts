import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { type Context, withTimeout } from '#core/context.ts'
import { describe, hasCode } from '#lib/errors/errors.ts'

import type { Bundle } from './bundle.ts'
import type { Launcher } from './launcher.ts'
import type { ShimProgram } from './shim-program.ts'
import type { Shim } from './shim.ts'

/** How often it is tried, how long each time may take, and the pauses between, which grow, ms. */
const [tries, attemptMs, firstPauseMs] = [8, 30_000, 250] as const

/**
 * Has another host go on with the sandbox of a host that is gone. Gives nothing when there is none
 * to go on with, another program's shim, or no host that can be started: unlike a container a sandbox
 * here has no process that would be lost.
 *
 * @throws when `ctx` is cancelled.
 */
export async function reviveSandbox(
  ctx: Context,
  bundle: Bundle,
  program: ShimProgram,
  launcher: Launcher,
): Promise<Shim | undefined> {
  if (!program.builtin || !existsSync(join(bundle.path, 'sandbox.json'))) return undefined
  const { namespace, id } = bundle
  for (let n = 0; n < tries; n++) {
    try {
      return await attempt({ ...ctx, namespace }, bundle, program, launcher)
    } catch (err) {
      ctx.signal.throwIfAborted()
      if (hasCode(err, 'not_found')) return undefined
      ctx.log.warn('no shim host in the place of one that is gone', {
        namespace,
        id,
        error: describe(err),
      })
    }
    await sleep(firstPauseMs * 2 ** n, undefined, { signal: ctx.signal })
  }
  return undefined
}

async function attempt(
  ctx: Context,
  bundle: Bundle,
  program: ShimProgram,
  launcher: Launcher,
): Promise<Shim> {
  const { id, namespace } = bundle
  const shim = await launcher.revive(withTimeout(ctx, attemptMs), bundle, program)
  try {
    const timeoutMs = program.timeout('shim.load')
    await shim.sandbox.sandboxStatus({ sandboxId: id }, { signal: ctx.signal, timeoutMs })
    ctx.log.info('another shim host has the sandbox', { namespace, id })
    return shim
  } catch (err) {
    await shim[Symbol.asyncDispose]()
    throw err
  }
}
