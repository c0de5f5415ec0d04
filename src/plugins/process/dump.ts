import { constants } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import type { Logger } from '#core/context.ts'
import { describe } from '#lib/errors/errors.ts'
import { activity } from '#lib/pprof/activity.ts'

/** The file that `dump` writes, in the directory for temporary files. */
export const dumpFile = (): string => join(tmpdir(), `containerd.${process.pid}.stacks.log`)

/**
 * Tells what this process is doing: in the log, and in a file by containerd's name that only its
 * owner can read. What fails is said in the log.
 */
export async function dump(log: Logger): Promise<void> {
  const text = activity()
  const path = dumpFile()
  log.info('what the daemon is doing', { path, dump: text })
  try {
    await replace(path, text)
  } catch (err) {
    log.error('cannot write the dump', { path, error: describe(err) })
  }
}

/** A new file, as others may have put something in its place: everybody can write there. */
async function replace(path: string, text: string): Promise<void> {
  await rm(path, { force: true })
  const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants
  await using file = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
  await file.writeFile(text)
}
