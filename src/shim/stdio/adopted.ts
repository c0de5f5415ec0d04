import { closeSync, constants, fstatSync, openSync } from 'node:fs'

import type { Logger } from '#core/context.ts'
import { describe } from '#lib/errors/errors.ts'

import { openPipe, reopenPipe } from './fifo.ts'
import { type OutputSink, openSink } from './sink.ts'
import type { OutputPipes, ProcessOwner, ProcessStdio, StdioPaths } from './stdio.ts'

const { O_RDONLY, O_WRONLY, O_NONBLOCK } = constants

/** Streams as the host that was killed has left them. */
export interface FoundStdio {
  readonly paths: StdioPaths
  readonly stdinClosed: boolean
  readonly pipes: OutputPipes | undefined
  /** The process whose streams they are. */
  readonly pid: number
  /** It is gone. */
  readonly ended: boolean
}

/**
 * Streams of a process whose host was killed: the process still has them, what is opened again are
 * the ends that a host keeps, so that clients may come and go, and the pipes that it copies from. A
 * terminal that nobody has kept ended with it; a logger goes on by itself.
 */
export class AdoptedStdio implements ProcessStdio {
  readonly pipes: OutputPipes | undefined
  readonly #stdinWriter = new DisposableStack()
  readonly #ours = new DisposableStack()
  readonly #sink: Promise<OutputSink | undefined>

  constructor(found: FoundStdio, owner: ProcessOwner, log: Logger) {
    const { paths, stdinClosed, pipes } = found
    this.pipes = pipes
    this.#sink = readOn(found, owner, log)
    if (paths.terminal) return
    if (!stdinClosed) keep(paths.stdin, O_WRONLY, this.#stdinWriter)
    for (const path of new Set([paths.stdout, paths.stderr])) keep(path, O_RDONLY, this.#ours)
  }

  handedOver(): Promise<void> {
    return Promise.resolve()
  }

  closeStdin(): void {
    this.#stdinWriter.dispose()
  }

  resize(): void {}

  async drained(): Promise<void> {
    await (await this.#sink)?.ended
  }

  [Symbol.dispose](): void {
    this.#stdinWriter.dispose()
    this.#ours.dispose()
    void this.#sink.then((sink) => sink?.close())
  }
}

/** Goes on copying what comes from the pipes, which have kept it meanwhile. */
async function readOn(
  { paths, pipes, pid: of, ended }: FoundStdio,
  owner: ProcessOwner,
  log: Logger,
): Promise<OutputSink | undefined> {
  if (!pipes) return undefined
  try {
    using readers = new DisposableStack()
    const [out, err] = pipes
    const pid = ended ? 0 : of
    const outputs = [openAgain(out, pid, readers), openAgain(err, pid, readers)] as const
    // They are the sink's from here on.
    readers.move()
    return await openSink(paths.stdout, owner, outputs, log)
  } catch (err) {
    log.error('output is logged no more', { error: describe(err) })
    return undefined
  }
}

/** A pipe that nobody can write to any more is at its end. */
function openAgain(name: string, pid: number, readers: DisposableStack): number {
  const fd = reopenPipe(name, pid)
  if (fd !== undefined) {
    readers.defer(() => closeSync(fd))
    return fd
  }
  using writers = new DisposableStack()
  return openPipe(readers, writers).read
}

/** Opens a FIFO. One whose other side is gone, or that is removed, needs nobody to keep it. */
function keep(path: string, flags: number, keeper: DisposableStack): void {
  if (!path.startsWith('/')) return
  try {
    const fd = openSync(path, flags | O_NONBLOCK)
    if (fstatSync(fd).isFIFO()) keeper.defer(() => closeSync(fd))
    else closeSync(fd)
  } catch {
    // ENOENT, ENXIO: nobody reads or writes there any more.
  }
}
