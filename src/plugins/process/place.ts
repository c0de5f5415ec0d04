import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

import type { Logger } from '#core/context.ts'
import { describe, invalidArgument } from '#lib/errors/errors.ts'
import { cgroupMode } from '#sys/cgroup.ts'
import { mountInfo } from '#sys/mount-info.ts'
import { setOomScoreAdj } from '#sys/process.ts'

/** Where the daemon stands among the processes of the machine. */
export interface Place {
  /** How readily the kernel ends it when memory runs out, -1000 to 1000; 0 to leave it. */
  readonly oomScore: number
  /** The cgroup it joins; empty to stay. */
  readonly cgroup: string
}

/**
 * Gives this process its OOM score and its cgroup. A score that cannot be set is only said, as
 * upstream does it.
 *
 * @throws what the system says when the cgroup cannot be joined; `invalid_argument` for a path that
 * leads elsewhere.
 */
export function takePlace({ oomScore, cgroup }: Place, log: Logger): void {
  if (oomScore !== 0) {
    try {
      setOomScoreAdj(process.pid, oomScore)
    } catch (err) {
      log.error('cannot change the OOM score', { score: oomScore, error: describe(err) })
    }
  }
  if (cgroup === '') return
  if (cgroup.split('/').includes('..')) {
    throw invalidArgument(`cgroup path "${cgroup}" leads out of the hierarchy`)
  }
  for (const root of cgroupRoots()) enter(join(root, cgroup))
}

/**
 * Where groups are made: the one hierarchy of v2, or those of v1 that have a controller. The named
 * one is left to systemd, which finds its services by it.
 */
function cgroupRoots(): readonly string[] {
  const unified = cgroupMode() === 'unified'
  const roots = mountInfo()
    .filter(({ type, superOptions }) =>
      unified
        ? type === 'cgroup2'
        : type === 'cgroup' && !superOptions.some((option) => option.startsWith('name=')),
    )
    .map(({ mountPoint }) => mountPoint)
  return [...new Set(roots)]
}

function enter(group: string): void {
  try {
    mkdirSync(group, { recursive: true })
    inheritCpuset(group)
    writeFileSync(join(group, 'cgroup.procs'), String(process.pid))
  } catch (err) {
    throw new Error(`join cgroup ${group}`, { cause: err })
  }
}

/** A new group of the cpuset controller of v1 has no CPUs and no memory, and takes no process. */
function inheritCpuset(group: string): void {
  for (const name of ['cpuset.cpus', 'cpuset.mems']) {
    if (readIfThere(join(group, name)) !== '') continue
    const parent = dirname(group)
    inheritCpuset(parent)
    writeFileSync(join(group, name), readIfThere(join(parent, name)) ?? '')
  }
}

/** The text without white space around it; `undefined` when there is no such file. */
function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch (err) {
    if (err instanceof Error && 'code' in err && err.code === 'ENOENT') return undefined
    throw err
  }
}
