import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'

import { raceAbort } from '#lib/async/mutex.ts'
import { killTree } from '#shim/kill-tree.ts'

/** The descriptors a command gets as stdin, stdout and stderr; they stay the caller's to close. */
export type StdioFds = readonly [number, number, number]

/** One run of the OCI runtime. */
export interface CommandOptions {
  /** When to give it up: the runtime is killed. */
  readonly signal?: AbortSignal | undefined
  /** Without it, output is collected. */
  readonly stdio?: StdioFds | undefined
  /** What to say on stdin; only without `stdio`. */
  readonly input?: string | Uint8Array | undefined
  /** What is executed by the name of `file`, in its place. */
  readonly program?: string | undefined
}

/** A run that failed: how, and what it printed. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  readonly output: string

  constructor(message: string, output: string, options?: ErrorOptions) {
    super(output ? `${message}: ${output}` : message, options)
    this.output = output
  }
}

/** A run that did not end in its time; it was killed, with what it had started. */
export class CommandTimeout extends CommandError {}

/** A runtime's list of processes may be long; more than this is nothing that it means to say. */
const maxOutput = 4 * 1024 * 1024

let running = 0

/** How many commands run now: each may be about to leave a process to this one. */
export const commandsRunning = (): number => running

/** Runs `file` until it ends, and gives its stdout. @throws {CommandError} */
export async function run(
  file: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const { signal, stdio, input, program = file } = options
  const child = spawn(program, args, {
    argv0: file,
    stdio: stdio ? [...stdio] : [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  })
  running += 1
  using _ = { [Symbol.dispose]: () => (running -= 1) }
  const ended = once(child, stdio ? 'exit' : 'close')
  child.stdin?.on('error', () => {})
  child.stdin?.end(input)
  const finished = Promise.all([
    collect(child.stdout),
    collect(child.stderr),
    ended.catch((err: unknown) => {
      throw new CommandError(`run ${file}`, '', { cause: err })
    }),
  ])
  const [stdout, stderr, [code, killedBy]] = await orKilled(finished, child, { file, signal })
  if (code === 0) return stdout
  const how = code === null ? `signal: ${String(killedBy)}` : `exit status ${String(code)}`
  throw new CommandError(`${file} did not terminate successfully: ${how}`, (stderr + stdout).trim())
}

/** What came of the command; it is killed, and not waited for any more, when `signal` aborts. */
async function orKilled<T>(
  finished: Promise<T>,
  child: ChildProcess,
  { file, signal }: { readonly file: string; readonly signal: AbortSignal | undefined },
): Promise<T> {
  try {
    return await raceAbort(finished, signal)
  } catch (err) {
    if (!signal?.aborted || err instanceof CommandError) throw err
    // Nobody hears of what comes of it.
    finished.catch(() => {})
    const { pid = 0 } = child
    if (pid > 0 && child.exitCode === null && child.signalCode === null) killTree(pid)
    // Who holds the other ends may be hard to kill.
    child.stdout?.destroy()
    child.stderr?.destroy()
    throw new CommandTimeout(`${file} (process ${pid}) has not ended in its time and is killed`, '')
  }
}

async function collect(stream: Readable | null): Promise<string> {
  if (!stream) return ''
  let text = ''
  for await (const chunk of stream.setEncoding('utf8')) {
    if (text.length < maxOutput) text += String(chunk)
  }
  return text
}
