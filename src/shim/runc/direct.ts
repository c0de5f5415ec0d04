import { existsSync, rmSync } from 'node:fs'
import { rmdir } from 'node:fs/promises'
import { basename, join } from 'node:path'

import { hasErrno } from '#lib/fs/has-errno.ts'
import { lives, type ProcessIdentity } from '#sys/process-end.ts'

import { crunFiles } from './crun-files.ts'
import { runcFiles } from './runc-files.ts'
import type { RuntimeFiles } from './runtime-files.ts'

/*
 * The steps that a host does by itself: a process of runc takes 10 ms for either of them, and much of a
 * processor; one of crun 7 ms.
 *
 * Containers that need more than what is done here are left to the runtime: those with hooks for these steps, in
 * slices of systemd, with a group of Intel RDT, in the pid namespace of others. So are those of other runtimes.
 */

/** By the name of the program: of what others do beside, nothing is known. */
const known: ReadonlyMap<string, RuntimeFiles> = new Map([
  ['runc', runcFiles],
  ['crun', crunFiles],
])

const filesOf = (binary: string): RuntimeFiles | undefined => known.get(basename(binary))

/**
 * Has the user's program run in a created container.
 *
 * @param stateDir - Where `binary` keeps its state of the container.
 * @param pid - The init process.
 * @returns whether it does; if not, nothing has changed, and the runtime is to be asked.
 */
export async function startDirectly(
  binary: string,
  stateDir: string,
  pid: number,
  signal: AbortSignal,
): Promise<boolean> {
  const files = filesOf(binary)
  if (files?.groupsIn(stateDir) === undefined) return false
  const fifo = join(stateDir, 'exec.fifo')
  const hasGone = await files.letGo(fifo, pid, signal)
  if (hasGone) rmSync(fifo, { force: true })
  return hasGone
}

/**
 * Ends a start in whose middle a host was killed: a program that runs, and whose FIFO says it does not.
 *
 * @param init - Nothing for one that had ended.
 */
export function finishStart(
  binary: string,
  stateDir: string,
  init: ProcessIdentity | undefined,
): void {
  const files = filesOf(binary)
  const fifo = join(stateDir, 'exec.fifo')
  if (!init || !files || !existsSync(fifo) || !lives(init)) return
  if (!files.waits(fifo, init.pid)) rmSync(fifo, { force: true })
}

/**
 * Removes a container whose init process has ended.
 *
 * @param stateDir - Where `binary` keeps its state of the container.
 * @returns whether it is gone; if not, the runtime is to be asked.
 */
export async function deleteDirectly(binary: string, stateDir: string): Promise<boolean> {
  const groups = filesOf(binary)?.groupsIn(stateDir)
  if (groups === undefined) return false
  const removed = await Promise.all(groups.map(async (path) => await removeGroup(path)))
  if (removed.includes(false)) return false
  rmSync(stateDir, { recursive: true, force: true })
  return true
}

/** Not one that has groups below it, or a process: those need more patience than there is here. */
async function removeGroup(path: string): Promise<boolean> {
  try {
    await rmdir(path)
    return true
  } catch (err) {
    return hasErrno(err, 'ENOENT')
  }
}
