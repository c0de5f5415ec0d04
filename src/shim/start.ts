import { readFileSync, writeFileSync } from 'node:fs'

import { invalidArgument } from '#lib/errors/errors.ts'

import { formatReply, parseBootstrap } from './bootstrap.ts'
import type { ShimFlags } from './flags.ts'
import { groupOf, isolationOf } from './grouping.ts'
import { isServed, socketDir, socketPath } from './socket.ts'

/**
 * The `start` command: makes sure that a host serves the container's group, and gives the reply
 * that tells the daemon where.
 *
 * The working directory is the bundle.
 * @throws `invalid_argument`, or why the host did not start.
 */
export async function start(
  flags: ShimFlags,
  env: NodeJS.ProcessEnv,
): Promise<string | Uint8Array> {
  if (!flags.id || !flags.namespace) throw invalidArgument('shim id and namespace are required')
  const bootstrap = parseBootstrap(readInput(), flags, env)
  const { shimCgroup } = bootstrap
  const group = groupOf(flags.id, process.cwd(), { isolation: isolationOf(env), shimCgroup })
  const path = socketPath(socketDir(bootstrap.socketDir, env), {
    grpcAddress: bootstrap.grpcAddress,
    namespace: flags.namespace,
    group,
  })
  if (!(await isServed(path))) {
    // Not loaded when the host is there already, as it is for all containers but the first.
    const { startHost } = await import('./start-host.ts')
    await startHost(path, { namespace: flags.namespace, bootstrap, env })
  }
  const address = `unix://${path}`
  // Daemons before 2.0 look for it when they restart.
  writeFileSync('address', address, { mode: 0o600 })
  return formatReply(bootstrap.form, address)
}

function readInput(): Uint8Array {
  try {
    return readFileSync(0)
  } catch {
    // No stdin at all: 1.6 without options.
    return new Uint8Array()
  }
}
