import { readFileSync, writeFileSync } from 'node:fs'

import { spawnHost } from '#core/runtime/host-process.ts'
import { joinCgroup } from '#sys/cgroup.ts'

import type { Bootstrap } from './bootstrap.ts'

/** What a new host is told. */
export interface HostOptions {
  readonly namespace: string
  readonly bootstrap: Bootstrap
  readonly env: NodeJS.ProcessEnv
}

/** Forks a host for `path` that outlives this process, and waits until it serves. @throws why it does not. */
export async function startHost(
  path: string,
  { namespace, bootstrap, env }: HostOptions,
): Promise<void> {
  if (bootstrap.shimCgroup !== '') joinCgroup(bootstrap.shimCgroup)
  raiseOomScore()
  const { grpcAddress, ttrpcAddress, debug } = bootstrap
  const program = process.argv[1] ?? ''
  await spawnHost({ program, socket: path, namespace, grpcAddress, ttrpcAddress, debug, env })
}

/** The host inherits it: when memory runs out it goes before the daemon, and after containers. */
function raiseOomScore(): void {
  try {
    const parent = Number(readFileSync(`/proc/${process.ppid}/oom_score_adj`, 'utf8'))
    writeFileSync('/proc/self/oom_score_adj', String(Math.min(parent + 1, 1000)))
  } catch {
    // The parent may be in another user namespace; then the score stays as it is.
  }
}
