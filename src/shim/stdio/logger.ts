import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync } from 'node:fs'
import { Readable } from 'node:stream'

import type { OutputSink } from './sink.ts'
import type { ProcessOwner } from './stdio.ts'
import { parseTarget } from './target.ts'

/** How long a logger may take to say that it is ready, ms. */
const readyMs = 10_000
/** How long a logger may take to end when it has read everything, ms. Source: upstream `process/io.go`. */
const endMs = 12_000

/**
 * Output to a logger, a program of its own: `binary:///path?key=value` runs `/path key value`.
 *
 *     fd 3  what the process writes to stdout
 *     fd 4  what it writes to stderr
 *     fd 5  closed, or written to, by the logger when it is ready; with `binary-v2:` it must write,
 *           so that a logger that has ended is not taken for one that is ready
 *
 * The process and the logger have the two ends of the pipes; nothing passes through here.
 *
 * @throws why it does not start.
 */
export async function startLogger(
  uri: string,
  { id, namespace }: ProcessOwner,
  outputs: readonly [number, number],
): Promise<OutputSink> {
  using _ours = { [Symbol.dispose]: () => outputs.forEach((fd) => closeSync(fd)) }
  const { scheme, path, query } = parseTarget(uri)
  const logger = spawn(path, query.flat(), {
    stdio: ['ignore', 'ignore', 'ignore', ...outputs, 'pipe'],
    env: { CONTAINER_ID: id, CONTAINER_NAMESPACE: namespace },
  })
  await once(logger, 'spawn')
  const ended = new Promise<void>((resolve) => {
    logger.once('exit', () => resolve())
  })
  try {
    await ready(logger, scheme === 'binary-v2')
  } catch (err) {
    logger.kill('SIGKILL')
    throw new Error(`logger ${path} is not ready`, { cause: err })
  }
  return { ended, close: () => endSoon(logger, ended) }
}

/** `mustSay`: closing the pipe is no word. */
async function ready(logger: ChildProcess, mustSay: boolean): Promise<void> {
  const pipe: unknown = logger.stdio.at(5)
  if (!(pipe instanceof Readable)) throw new Error('there is no pipe to say it by')
  using _ = { [Symbol.dispose]: () => void pipe.destroy() }
  const signal = AbortSignal.timeout(readyMs)
  const said = once(pipe, 'data', { signal }).then(() => true)
  const closed = once(pipe, 'close', { signal }).then(() => false)
  said.catch(() => {})
  closed.catch(() => {})
  if (!(await Promise.race([said, closed])) && mustSay) {
    throw new Error('it closed file descriptor 5 without writing to it, or has ended')
  }
}

function endSoon(logger: ChildProcess, ended: Promise<void>): void {
  if (logger.exitCode !== null || logger.signalCode !== null) return
  const late = setTimeout(() => logger.kill('SIGKILL'), endMs)
  void ended.then(() => clearTimeout(late))
}
