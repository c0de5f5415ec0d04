import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync } from 'node:fs'
import { Readable } from 'node:stream'

import { invalidArgument } from '#lib/errors/errors.ts'
import type { StdioFds } from '#shim/runc/command.ts'
import { pipe } from '#sys/fifo.ts'

import { giveTo, openInput } from './fifo.ts'
import type { ProcessOwner, ProcessStdio, StdioPaths } from './stdio.ts'
import { type Target, parseTarget } from './target.ts'

/** How long a logger may take to say that it is ready, ms. */
const readyMs = 10_000
/** How long a logger may take to end when it has read everything, ms. Source: upstream `process/io.go`. */
const endMs = 12_000

/**
 * Output to a logger, a program of its own: `binary:///path?key=value` runs `/path key value`.
 *
 *     fd 3  what the process writes to stdout
 *     fd 4  what it writes to stderr
 *     fd 5  closed, or written to, by the logger when it is ready
 *
 * The process and the logger have the two ends of the pipes; nothing passes through here.
 */
export class LoggerStdio implements ProcessStdio {
  readonly fds: StdioFds
  readonly #logger: ChildProcess
  readonly #theirs: DisposableStack
  readonly #stdinWriter: DisposableStack
  readonly #ended: Promise<void>

  private constructor(fds: StdioFds, logger: ChildProcess, stacks: readonly DisposableStack[]) {
    this.fds = fds
    this.#logger = logger
    const [theirs, stdinWriter] = stacks
    this.#theirs = theirs ?? new DisposableStack()
    this.#stdinWriter = stdinWriter ?? new DisposableStack()
    this.#ended = new Promise((resolve) => {
      logger.once('exit', () => resolve())
    })
  }

  /** Starts the logger and waits until it is ready. @throws why it does not start. */
  static async open(paths: StdioPaths, owner: ProcessOwner): Promise<LoggerStdio> {
    const target = parseTarget(paths.stdout)
    if (target.scheme !== 'binary') throw invalidArgument('stdout is not a logger')
    using theirs = new DisposableStack()
    using stdinWriter = new DisposableStack()
    using readers = new DisposableStack()
    const stdin = openInput(paths.stdin)
    theirs.defer(() => closeSync(stdin.fd))
    const { keep } = stdin
    if (keep !== undefined) stdinWriter.defer(() => closeSync(keep))
    const [stdout, stderr] = [pipe(), pipe()]
    for (const { read, write } of [stdout, stderr]) {
      readers.defer(() => closeSync(read))
      theirs.defer(() => closeSync(write))
      giveTo(owner, write)
    }
    const logger = await startLogger(target, owner, [stdout.read, stderr.read])
    const fds: StdioFds = [stdin.fd, stdout.write, stderr.write]
    return new LoggerStdio(fds, logger, [theirs.move(), stdinWriter.move()])
  }

  handedOver(): Promise<void> {
    this.#theirs.dispose()
    return Promise.resolve()
  }

  closeStdin(): void {
    this.#stdinWriter.dispose()
  }

  resize(): void {}

  /** The logger ends by itself when nobody can write to it any more. */
  async drained(): Promise<void> {
    await this.#ended
  }

  [Symbol.dispose](): void {
    this.#theirs.dispose()
    this.#stdinWriter.dispose()
    if (this.#logger.exitCode !== null || this.#logger.signalCode !== null) return
    const late = setTimeout(() => this.#logger.kill('SIGKILL'), endMs)
    void this.#ended.then(() => clearTimeout(late))
  }
}

async function startLogger(
  { path, query }: Target,
  { id, namespace }: ProcessOwner,
  outputs: readonly [number, number],
): Promise<ChildProcess> {
  const logger = spawn(path, query.flat(), {
    stdio: ['ignore', 'ignore', 'ignore', ...outputs, 'pipe'],
    env: { CONTAINER_ID: id, CONTAINER_NAMESPACE: namespace },
  })
  await once(logger, 'spawn')
  const ready: unknown = logger.stdio.at(5)
  if (!(ready instanceof Readable)) throw new Error('the logger has no pipe to say it is ready')
  ready.resume()
  try {
    const signal = AbortSignal.timeout(readyMs)
    await Promise.race([once(ready, 'data', { signal }), once(ready, 'close', { signal })])
  } catch (err) {
    logger.kill('SIGKILL')
    throw new Error(`logger ${path} is not ready`, { cause: err })
  }
  ready.destroy()
  return logger
}
