import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { Readable } from 'node:stream'

import { invalidArgument } from '#lib/errors/errors.ts'

import { type Bootstrap, formatReply, parseBootstrap } from './bootstrap.ts'
import type { ShimFlags } from './flags.ts'
import { groupOf, isolationOf } from './grouping.ts'
import { isServed, socketDir, socketPath } from './socket.ts'

/** A host allocates little: without much room for young objects it takes 5 MB less. */
const nodeFlags = ['--max-semi-space-size=1']

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
  const group = groupOf(flags.id, process.cwd(), isolationOf(env))
  const path = socketPath(socketDir(bootstrap.socketDir, env), {
    grpcAddress: bootstrap.grpcAddress,
    namespace: flags.namespace,
    group,
  })
  if (!(await isServed(path))) await startHost(path, flags, bootstrap, env)
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

/** Forks a host for `path` that outlives this process, and waits until it serves. */
async function startHost(
  path: string,
  flags: ShimFlags,
  bootstrap: Bootstrap,
  env: NodeJS.ProcessEnv,
): Promise<void> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  raiseOomScore()
  const args = ['-namespace', flags.namespace, '-address', bootstrap.grpcAddress, '-socket', path]
  if (bootstrap.debug) args.push('-debug')
  const host = spawn(process.execPath, [...nodeFlags, process.argv[1] ?? '', ...args, 'serve'], {
    detached: true,
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    env: { ...env, TTRPC_ADDRESS: bootstrap.ttrpcAddress },
  })
  await once(host, 'spawn')
  const complaint = await readAll(host.stdio[3])
  host.unref()
  if (complaint !== 'ok') throw new Error(complaint || 'shim host ended before it served')
}

/** The host prints `ok` when it serves, or why it cannot, and closes the pipe. */
async function readAll(pipe: unknown): Promise<string> {
  if (!(pipe instanceof Readable)) return ''
  let text = ''
  for await (const chunk of pipe.setEncoding('utf8')) text += String(chunk)
  return text
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
