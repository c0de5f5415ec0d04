import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { Readable } from 'node:stream'

import { checkSocketPath } from './socket-path.ts'

/** A host allocates little: without much room for young objects it takes 5 MB less. */
const nodeFlags = ['--max-semi-space-size=1']
/**
 * The threads of a host allocate little. With a heap for each of them what they let go lies about in
 * all: 12 MB after 2500 containers, and 0.6 MB more for each thousand, where one has 7 MB and stays so.
 */
const oneHeap = { MALLOC_ARENA_MAX: '1' }

/** What a new shim host is told. */
export interface HostOptions {
  /** Path of `containerd-shim-wharf-v1.mjs`. */
  readonly program: string
  /** Path of its socket. */
  readonly socket: string
  readonly namespace: string
  /** Of the daemon's sockets. */
  readonly grpcAddress: string
  readonly ttrpcAddress: string
  readonly env: NodeJS.ProcessEnv
  readonly debug?: boolean
  /** The bundle it is started for; the working directory unless given. */
  readonly bundle?: string
  /** The pid of the daemon; this process unless given. */
  readonly daemonPid?: number
  /** Ends a host that does not serve yet. */
  readonly signal?: AbortSignal
}

/**
 * Starts a shim host that outlives this process, and waits until it serves, or has found that another
 * one does.
 *
 * @throws `invalid_argument` for a path that is too long; why it does not.
 */
export async function spawnHost(options: HostOptions): Promise<void> {
  const { program, socket, namespace, grpcAddress, ttrpcAddress, bundle, daemonPid } = options
  options.signal?.throwIfAborted()
  checkSocketPath(socket)
  mkdirSync(dirname(socket), { recursive: true, mode: 0o700 })
  const args = ['-namespace', namespace, '-address', grpcAddress, '-socket', socket]
  if (options.debug === true) args.push('-debug')
  const host = spawn(process.execPath, [...nodeFlags, program, ...args, 'serve'], {
    ...(bundle !== undefined && { cwd: bundle }),
    detached: true,
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    env: { ...oneHeap, ...options.env, TTRPC_ADDRESS: ttrpcAddress },
  })
  const kill = (): void => void host.kill('SIGKILL')
  options.signal?.addEventListener('abort', kill)
  try {
    await once(host, 'spawn')
    if (host.pid !== undefined) raiseOomScore(host.pid, daemonPid ?? process.pid)
    const complaint = await readAll(host.stdio[3])
    options.signal?.throwIfAborted()
    if (complaint !== 'ok') throw new Error(complaint || 'shim host ended before it served')
  } finally {
    options.signal?.removeEventListener('abort', kill)
    host.unref()
  }
}

/** The host prints `ok` when it serves, or why it cannot, and closes the pipe. */
async function readAll(pipe: unknown): Promise<string> {
  if (!(pipe instanceof Readable)) return ''
  let text = ''
  for await (const chunk of pipe.setEncoding('utf8')) text += String(chunk)
  return text
}

/** When memory runs out a host goes before the daemon, and after containers. */
function raiseOomScore(host: number, daemon: number): void {
  try {
    const score = Number(readFileSync(`/proc/${daemon}/oom_score_adj`, 'utf8'))
    writeFileSync(`/proc/${host}/oom_score_adj`, String(Math.min(score + 1, 1000)))
  } catch {
    // In another user namespace it stays as it is; and it may have ended, which is told otherwise.
  }
}
