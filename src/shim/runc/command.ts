import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'

/** The descriptors a command gets as stdin, stdout and stderr; they stay the caller's to close. */
export type StdioFds = readonly [number, number, number]

/** One run of the OCI runtime. */
export interface CommandOptions {
  /** Given up with: the runtime is killed. */
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
    killSignal: 'SIGKILL',
    ...(signal ? { signal } : {}),
  })
  running += 1
  using _ = { [Symbol.dispose]: () => (running -= 1) }
  const ended = once(child, stdio ? 'exit' : 'close')
  child.stdin?.on('error', () => {})
  child.stdin?.end(input)
  const [stdout, stderr, [code, killedBy]] = await Promise.all([
    collect(child.stdout),
    collect(child.stderr),
    ended.catch((err: unknown) => {
      throw new CommandError(`run ${file}`, '', { cause: err })
    }),
  ])
  if (code === 0) return stdout
  const how = code === null ? `signal: ${String(killedBy)}` : `exit status ${String(code)}`
  throw new CommandError(`${file} did not terminate successfully: ${how}`, (stderr + stdout).trim())
}

async function collect(stream: Readable | null): Promise<string> {
  if (!stream) return ''
  let text = ''
  for await (const chunk of stream.setEncoding('utf8')) {
    if (text.length < maxOutput) text += String(chunk)
  }
  return text
}
