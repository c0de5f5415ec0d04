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
  const { grpcAddress, ttrpcAddress, debug } = bootstrap
  const program = process.argv[1] ?? ''
  const daemonPid = process.ppid
  const addresses = { socket: path, grpcAddress, ttrpcAddress }
  await spawnHost({ program, namespace, ...addresses, debug, env, daemonPid })
}
