import { constants } from 'node:os'

import { raceAbort } from '#lib/async/mutex.ts'
import { killTree } from '#shim/kill-tree.ts'
import { spawnDirectly } from '#sys/spawn.ts'

import { startCollected } from './collected-command.ts'
import { CommandError, CommandTimeout } from './command-error.ts'
import { type Command, type Ended, failureOf, notRun } from './started-command.ts'

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

let running = 0

/** How many commands run now: each may be about to leave a process to this one. */
export const commandsRunning = (): number => running

/** Runs `file` until it ends, and gives its stdout. @throws {CommandError} */
export async function run(
  file: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const command = start(file, args, options)
  running += 1
  using _ = { [Symbol.dispose]: () => (running -= 1) }
  const { failure, stdout, stderr } = await orKilled(command, { file, signal: options.signal })
  if (failure === '') return stdout
  throw new CommandError(
    `${file} did not terminate successfully: ${failure}`,
    (stderr + stdout).trim(),
  )
}

function start(file: string, args: readonly string[], options: CommandOptions): Command {
  try {
    const { stdio, input, program = file } = options
    return stdio
      ? startDirectly(file, args, { stdio, program })
      : startCollected(file, args, { input, program })
  } catch (err) {
    throw notRun(file, err)
  }
}

function startDirectly(
  file: string,
  args: readonly string[],
  { stdio, program }: { readonly stdio: StdioFds; readonly program: string },
): Command {
  const { pid, ended } = spawnDirectly({ program, argv: [file, ...args], env: process.env, stdio })
  let hasEnded = false
  const told = ended.then((exit) => {
    hasEnded = true
    const signal = exit?.signal === undefined ? null : signalName(exit.signal)
    return { failure: failureOf(exit?.status ?? null, signal), stdout: '', stderr: '' }
  })
  return { pid, ended: told, kill: () => void (hasEnded || killTree(pid)) }
}

/** What came of the command; it is killed, and not waited for any more, when `signal` aborts. */
async function orKilled(
  { pid, ended, kill }: Command,
  { file, signal }: { readonly file: string; readonly signal: AbortSignal | undefined },
): Promise<Ended> {
  try {
    return await raceAbort(ended, signal)
  } catch (err) {
    if (!signal?.aborted || err instanceof CommandError) throw err
    // Nobody hears of what comes of it.
    ended.catch(() => {})
    kill()
    throw new CommandTimeout(`${file} (process ${pid}) has not ended in its time and is killed`, '')
  }
}

const signalName = (number: number): string =>
  Object.entries(constants.signals).find(([, each]) => each === number)?.[0] ?? String(number)
