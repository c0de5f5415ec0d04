import { closeSync } from 'node:fs'

import { invalidArgument } from '#lib/errors/errors.ts'
import type { StdioFds } from '#shim/runc/command.ts'

import { type Stream, giveTo, openInput, openLogFile, openOutput } from './fifo.ts'
import { isSinkUri } from './sink.ts'
import type { ProcessStdio, StdioPaths, StreamOwner } from './stdio.ts'
import { parseTarget } from './target.ts'

/**
 * Streams without a terminal: the process reads and writes the client's FIFOs itself, and no byte
 * passes through here.
 */
export class PipeStdio implements ProcessStdio {
  readonly fds: StdioFds
  readonly #theirs = new DisposableStack()
  readonly #stdinWriter = new DisposableStack()
  readonly #ours = new DisposableStack()
  readonly #fifos: number[] = []

  /** @throws {SystemError} when a FIFO is not there; `invalid_argument` for a bad URI. */
  constructor(paths: StdioPaths, owner: StreamOwner) {
    using undo = new DisposableStack()
    undo.use(this)
    const stdin = this.#hold(openInput(paths.stdin), this.#stdinWriter)
    const { stdout, stderr } = outputs(paths)
    this.fds = [
      stdin,
      this.#hold(openTarget(stdout), this.#ours),
      this.#hold(openTarget(stderr), this.#ours),
    ]
    for (const fd of this.#fifos) giveTo(owner, fd)
    undo.move()
  }

  #hold({ fd, keep }: Stream, keeper: DisposableStack): number {
    this.#theirs.defer(() => closeSync(fd))
    if (keep === undefined) return fd
    keeper.defer(() => closeSync(keep))
    this.#fifos.push(fd)
    return fd
  }

  handedOver(): Promise<void> {
    this.#theirs.dispose()
    return Promise.resolve()
  }

  closeStdin(): void {
    this.#stdinWriter.dispose()
  }

  resize(): void {}

  /** The process had the FIFO itself: what it wrote is there. */
  drained(): Promise<void> {
    return Promise.resolve()
  }

  [Symbol.dispose](): void {
    this.#theirs.dispose()
    this.#stdinWriter.dispose()
    this.#ours.dispose()
  }
}

/** Upstream writes both to a log file that only stdout names. */
function outputs({ stdout, stderr }: StdioPaths): { stdout: string; stderr: string } {
  const toFile = parseTarget(stdout).scheme === 'file'
  return { stdout, stderr: stderr === '' && toFile ? stdout : stderr }
}

/** @throws `invalid_argument` for a logger, which stdout would have to name. */
function openTarget(uri: string): Stream {
  if (isSinkUri(uri)) throw invalidArgument(`stderr goes to "${uri}", and stdout does not`)
  const { scheme, path } = parseTarget(uri)
  return scheme === 'file' ? openLogFile(path) : openOutput(path)
}
