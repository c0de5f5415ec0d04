import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { Readable } from 'node:stream'

import { joinCgroup } from '#sys/cgroup.ts'

import type { Bootstrap } from './bootstrap.ts'

/** A host allocates little: without much room for young objects it takes 5 MB less. */
const nodeFlags = ['--max-semi-space-size=1']
/**
 * The threads of a host allocate little. With a heap for each of them what they let go lies about in
 * all: 12 MB after 2500 containers, and 0.6 MB more for each thousand, where one has 7 MB and stays so.
 */
const oneHeap = { MALLOC_ARENA_MAX: '1' }

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
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  if (bootstrap.shimCgroup !== '') joinCgroup(bootstrap.shimCgroup)
  raiseOomScore()
  const args = ['-namespace', namespace, '-address', bootstrap.grpcAddress, '-socket', path]
  if (bootstrap.debug) args.push('-debug')
  const host = spawn(process.execPath, [...nodeFlags, process.argv[1] ?? '', ...args, 'serve'], {
    detached: true,
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    env: { ...oneHeap, ...env, TTRPC_ADDRESS: bootstrap.ttrpcAddress },
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
