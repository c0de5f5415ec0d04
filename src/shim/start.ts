import { readFileSync, writeFileSync } from 'node:fs'

import { invalidArgument } from '#lib/errors/errors.ts'

import { type Bootstrap, formatReply, parseBootstrap } from './bootstrap.ts'
import { readOptions, socketOf } from './bundle.ts'
import type { ShimFlags } from './flags.ts'
import { groupOf, isolationOf } from './grouping.ts'
import { isRecorded } from './record.ts'
import { isSandbox } from './sandbox-record.ts'
import { isServed, socketDir, socketPath } from './socket.ts'

/**
 * The `start` command: makes sure that a host serves the container's group, and gives the reply
 * that tells the daemon where. One that takes the place of another has the socket that the bundle
 * names, whatever the daemon would say today.
 *
 * The working directory is the bundle.
 * @throws `invalid_argument`, or why the host did not start.
 */
export async function start(
  flags: ShimFlags,
  env: NodeJS.ProcessEnv,
): Promise<string | Uint8Array> {
  if (!flags.id || !flags.namespace) throw invalidArgument('shim id and namespace are required')
  const asked = parseBootstrap(readInput(), flags, env)
  const shimCgroup = asked.shimCgroup || readOptions(process.cwd(), env).shimCgroup
  const bootstrap = { ...asked, shimCgroup }
  const path = oldSocket(process.cwd()) ?? newSocket(flags, bootstrap, env)
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

/** Where the host was that another one takes the place of, with the container or sandbox it had. */
const oldSocket = (bundle: string): string | undefined =>
  isRecorded(bundle) || isSandbox(bundle) ? socketOf(bundle) : undefined

/** Where the host of a new bundle shall be. */
function newSocket(
  { id, namespace }: ShimFlags,
  { shimCgroup, grpcAddress, socketDir: dir }: Bootstrap,
  env: NodeJS.ProcessEnv,
): string {
  const group = groupOf(id, process.cwd(), { isolation: isolationOf(env), shimCgroup })
  return socketPath(socketDir(dir, env), { grpcAddress, namespace, group })
}

function readInput(): Uint8Array {
  try {
    return readFileSync(0)
  } catch {
    // No stdin at all: 1.6 without options.
    return new Uint8Array()
  }
}
