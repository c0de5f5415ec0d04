import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

import type { Context } from '#core/context.ts'

/**
 * Copies the directory `from` onto the directory `to`, with owners, modes, times, links, devices and
 * what extended attributes can be copied, sharing blocks where the file system can.
 */
export async function copyTree(ctx: Context, from: string, to: string): Promise<void> {
  const args = ['--archive', '--reflink=auto', '--no-target-directory', '--', from, to]
  try {
    await promisify(execFile)('cp', args, { signal: ctx.signal })
  } catch (err) {
    ctx.signal.throwIfAborted()
    throw new Error('copying of parent failed', { cause: err })
  }
}
