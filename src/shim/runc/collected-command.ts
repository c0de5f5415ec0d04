import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'

import { killTree } from '#shim/kill-tree.ts'

import { type Command, type Ended, failureOf, notRun } from './started-command.ts'

/** A runtime's list of processes may be long; more than this is nothing that it means to say. */
const maxOutput = 4 * 1024 * 1024

/** What a command is started with whose output is wanted. */
export interface CollectedOptions {
  /** What to say on stdin. */
  readonly input?: string | Uint8Array | undefined
  /** What is executed by the name of `file`. */
  readonly program: string
}

/** Starts a command, and keeps what it prints. */
export function startCollected(
  file: string,
  args: readonly string[],
  { input, program }: CollectedOptions,
): Command {
  const stdio = [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'] as const
  const child = spawn(program, args, { argv0: file, stdio: [...stdio] })
  child.stdin?.on('error', () => {})
  child.stdin?.end(input)
  return {
    pid: child.pid ?? 0,
    ended: collected(child, file),
    kill: () => {
      if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
        killTree(child.pid)
      }
      // Who holds the other ends may be hard to kill.
      child.stdout?.destroy()
      child.stderr?.destroy()
    },
  }
}

async function collected(child: ChildProcess, file: string): Promise<Ended> {
  const closed = once(child, 'close').catch((err: unknown) => {
    throw notRun(file, err)
  })
  const [stdout, stderr] = await Promise.all([collect(child.stdout), collect(child.stderr), closed])
  return { failure: failureOf(child.exitCode, child.signalCode), stdout, stderr }
}

async function collect(stream: Readable | null): Promise<string> {
  if (!stream) return ''
  let text = ''
  for await (const chunk of stream.setEncoding('utf8')) {
    if (text.length < maxOutput) text += String(chunk)
  }
  return text
}
