import { spawn } from 'node:child_process'
import { once } from 'node:events'

import type { Context } from '#core/context.ts'
import { failedPrecondition } from '#lib/errors/errors.ts'

/** How much of what a tool says is kept, in characters. */
const keptText = 4096

/**
 * Runs a tool to its end. `file` is its descriptor 3.
 *
 * @throws {Error} with what it said; `failed_precondition` when it is not installed; the reason of
 * `ctx.signal`, which kills it.
 */
export async function runTool(
  ctx: Context,
  program: string,
  args: readonly string[],
  { file }: { readonly file: number },
): Promise<void> {
  ctx.signal.throwIfAborted()
  const path = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe', file],
    env: { ...process.env, PATH: path },
    signal: ctx.signal,
    killSignal: 'SIGKILL',
  })
  let said = ''
  const keep = (piece: Buffer): void => void (said = (said + piece.toString()).slice(-keptText))
  child.stdout?.on('data', keep)
  child.stderr?.on('data', keep)
  const [code, killedBy] = await ended(child, program)
  ctx.signal.throwIfAborted()
  if (code === 0) return
  throw new Error(`${program} failed: ${said.trim()}: ${killedBy ?? `exit status ${code}`}`)
}

async function ended(
  child: ReturnType<typeof spawn>,
  program: string,
): Promise<readonly [number | null, string | null]> {
  try {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the arguments of `close`
    return (await once(child, 'close')) as [number | null, string | null]
  } catch (err) {
    if (err instanceof Error && 'code' in err && err.code === 'ENOENT') {
      throw failedPrecondition(`${program} is not installed`, { cause: err })
    }
    throw err
  }
}
