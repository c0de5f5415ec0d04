import { access, readdir, readFile, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'

import type { Context } from '#core/context.ts'
import { digestOf } from '#lib/digest/digest.ts'

import { isMissing } from './errno.ts'
import { ingestPathsIn } from './layout.ts'

/**
 * Removes directories in `dir` that lack the name or the data of an upload: a daemon was killed, or
 * the power was cut, while it made or committed one. They are listed under no name that the collector
 * could ask for, and nobody goes on with them. To be called while nobody uploads.
 */
export async function removeBrokenIngests(ctx: Context, dir: string): Promise<void> {
  for (const name of await readdir(dir)) {
    const path = join(dir, name)
    try {
      if (await isWhole(path)) continue
      await rm(path, { recursive: true, force: true })
      ctx.log.info('removed what was left of an upload', { path })
    } catch (error) {
      ctx.log.warn('failed to remove what was left of an upload', { path, error })
    }
  }
}

async function isWhole(path: string): Promise<boolean> {
  const { ref, data } = ingestPathsIn(path)
  try {
    await access(data)
    return digestOf(await readFile(ref)) === `sha256:${basename(path)}`
  } catch (err) {
    if (isMissing(err)) return false
    throw err
  }
}
