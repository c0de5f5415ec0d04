import { mkdtemp, open, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'

import type { Context } from '#core/context.ts'
import { describe } from '#lib/errors/errors.ts'
import { enableVerity } from '#sys/fs-verity.ts'

/** As upstream calls the directory of its probe; source: upstream `internal/fsverity`. */
const probePrefix = '.fsverity-check-'

/**
 * Has the kernel guard blobs against change, where the file system of the store knows how to
 * (fs-verity): a block that is not what it was cannot be read any more.
 */
export class Integrity {
  readonly #root: string
  #supported: Promise<boolean> | undefined

  constructor(root: string) {
    this.#root = root
  }

  /** Guards the file at `path`, which nobody writes to any more. That it can't be is no failure. */
  async guard(ctx: Context, path: string): Promise<void> {
    this.#supported ??= this.#probe(ctx)
    if (!(await this.#supported)) return
    try {
      await enable(path)
    } catch (error) {
      ctx.log.warn('failed to enable integrity for blob', { path, error })
    }
  }

  /** Asks the kernel once, with a file of its own. */
  async #probe(ctx: Context): Promise<boolean> {
    try {
      await this.#removeProbes()
      const dir = await mkdtemp(join(this.#root, probePrefix))
      try {
        const file = join(dir, 'supported')
        await (await open(file, 'w')).close()
        await enable(file)
        return true
      } finally {
        await rm(dir, { recursive: true })
      }
    } catch (err) {
      ctx.log.debug('no fs-verity for blobs', { path: this.#root, error: describe(err) })
      return false
    }
  }

  /** Those of a daemon that was killed. */
  async #removeProbes(): Promise<void> {
    for (const name of await readdir(this.#root)) {
      if (name.startsWith(probePrefix)) await rm(join(this.#root, name), { recursive: true })
    }
  }
}

async function enable(path: string): Promise<void> {
  await using file = await open(path)
  const { blksize } = await file.stat()
  await enableVerity(file.fd, blksize)
}
