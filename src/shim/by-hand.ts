import { existsSync, readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'

import { isErrno } from '#sys/errno.ts'
import { lives } from '#sys/process-end.ts'

import { cgroupsOf, endRuntimes, removeEmptyCgroups } from './half-made.ts'
import { kill } from './kill-tree.ts'
import { readRecord } from './record.ts'

/**
 * Removes a container without the OCI runtime, because that hangs or fails: ends those who work on
 * it and all its processes, then takes away its control groups and the runtime's state of it.
 *
 * @param state - The directory of the runtime for this container. Without it the runtime knows no
 *   such container, and processes in its control groups are somebody else's.
 */
export async function removeByHand(bundle: string, state: string): Promise<void> {
  await endRuntimes(bundle)
  if (existsSync(state)) endProcesses(bundle)
  await removeEmptyCgroups(bundle)
  await rm(state, { recursive: true, force: true })
}

function endProcesses(bundle: string): void {
  const { identity } = readRecord(bundle)?.init ?? {}
  if (identity && lives(identity)) kill(identity.pid)
  const pids = cgroupsOf(bundle).flatMap((cgroup) => pidsIn(join(cgroup, 'cgroup.procs')))
  for (const pid of new Set(pids)) kill(pid)
}

function pidsIn(path: string): number[] {
  try {
    return readFileSync(path, 'utf8').split('\n').filter(Boolean).map(Number)
  } catch (err) {
    if (isErrno(err, 'ENOENT', 'ENODEV')) return []
    throw err
  }
}
