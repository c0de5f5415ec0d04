import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { extname } from 'node:path'

import { toAbortReason } from '#lib/rpc/status.ts'

/** How to run a shim's program. */
export interface RunOptions {
  readonly args: readonly string[]
  readonly cwd?: string
  readonly env?: NodeJS.ProcessEnv
  readonly stdin?: Uint8Array
  /** Kills the program. */
  readonly signal: AbortSignal
}

/** What a program said before it ended well. */
export interface Output {
  readonly stdout: Buffer
  readonly stderr: Buffer
}

/** A shim answers with an address; more than this is not one. */
const maxOutputBytes = 4 * 1024 * 1024

/**
 * Runs a program to its end, in a process group of its own: a signal from the terminal is for the
 * daemon alone.
 *
 * @throws {Error} with what the program printed and how it ended: `no such thing: exit status 1`;
 *   `canceled` or `deadline_exceeded` when `signal` had it killed.
 */
export async function runProgram(path: string, options: RunOptions): Promise<Output> {
  const { args, cwd, env, stdin, signal } = options
  if (signal.aborted) throw toAbortReason(signal.reason)
  const [command, first] = commandFor(path)
  const child = spawn(command, [...first, ...args], {
    ...(cwd === undefined ? {} : { cwd }),
    env: env ?? process.env,
    detached: true,
    stdio: 'pipe',
  })
  using scope = new DisposableStack()
  const kill = (): void => void child.kill('SIGKILL')
  signal.addEventListener('abort', kill)
  scope.defer(() => signal.removeEventListener('abort', kill))

  const collected = collect(child)
  // A program that does not read its input is no error.
  child.stdin?.on('error', () => {})
  child.stdin?.end(stdin)
  const [code, killedBy] = await ended(child)
  const said = await collected
  if (signal.aborted) throw toAbortReason(signal.reason)
  if (code === 0) return said
  const text = Buffer.concat([said.stderr, said.stdout]).toString().trim()
  const how = killedBy ? `signal: ${killedBy}` : `exit status ${code}`
  throw new Error(text === '' ? how : `${text}: ${how}`)
}

/** A program of this package is a script, for the Node that runs this. */
const commandFor = (path: string): [string, string[]] =>
  extname(path) === '.mjs' ? [process.execPath, [path]] : [path, []]

async function ended(child: ChildProcess): Promise<[number | null, NodeJS.Signals | null]> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the arguments of the event
  return (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
}

/** All output, until both pipes end, or soon after the program if a child of it holds them. */
async function collect(child: ChildProcess): Promise<Output> {
  const chunks = { stdout: [] as Buffer[], stderr: [] as Buffer[] }
  let bytes = 0
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes <= maxOutputBytes) chunks[name].push(chunk)
      else child.kill('SIGKILL')
    })
  }
  const { promise: closed, resolve } = Promise.withResolvers<void>()
  let grace: NodeJS.Timeout | undefined
  child.once('close', () => resolve())
  child.once('error', () => resolve())
  child.once('exit', () => {
    grace = setTimeout(resolve, 500)
  })
  await closed
  clearTimeout(grace)
  child.stdout?.destroy()
  child.stderr?.destroy()
  return { stdout: Buffer.concat(chunks.stdout), stderr: Buffer.concat(chunks.stderr) }
}
