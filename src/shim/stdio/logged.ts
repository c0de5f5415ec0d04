import { closeSync } from 'node:fs'

import type { Logger } from '#core/context.ts'
import { isJsonFileUri } from '#core/logs/json-file.ts'
import { invalidArgument } from '#lib/errors/errors.ts'
import type { StdioFds } from '#shim/runc/command.ts'
import { giveTo, openInput, openLastingPipe, openPipe, pipeName } from './fifo.ts'
import { type OutputSink, openSink } from './sink.ts'
import type { OutputPipes, ProcessOwner, ProcessStdio, StdioPaths } from './stdio.ts'

/**
 * Streams of a process whose output is logged: it has the writing ends of pipes to the sink. Those to
 * the built-in driver, whose reader ends with the host, outlive that: the next host reads on.
 */
export class LoggedStdio implements ProcessStdio {
  readonly fds: StdioFds
  readonly pipes: OutputPipes | undefined
  readonly #sink: OutputSink
  readonly #theirs: DisposableStack
  readonly #stdinWriter: DisposableStack

  private constructor(
    fds: StdioFds,
    sink: OutputSink,
    held: {
      readonly theirs: DisposableStack
      readonly stdinWriter: DisposableStack
      readonly pipes: OutputPipes | undefined
    },
  ) {
    this.pipes = held.pipes
    this.fds = fds
    this.#sink = sink
    this.#theirs = held.theirs
    this.#stdinWriter = held.stdinWriter
  }

  /** @throws `invalid_argument` for a bad URI; {SystemError}; why nobody logs. */
  static async open(paths: StdioPaths, owner: ProcessOwner, log: Logger): Promise<LoggedStdio> {
    const { stdout, stderr } = paths
    if (stderr !== '' && stderr !== stdout) {
      throw invalidArgument(`stderr "${stderr}" is not logged where stdout is, "${stdout}"`)
    }
    using theirs = new DisposableStack()
    using stdinWriter = new DisposableStack()
    const stdin = openInput(paths.stdin)
    theirs.defer(() => closeSync(stdin.fd))
    const { keep } = stdin
    if (keep !== undefined) stdinWriter.defer(() => closeSync(keep))
    using readers = new DisposableStack()
    const isOurs = isJsonFileUri(stdout)
    const open = isOurs ? openLastingPipe : openPipe
    const [out, err] = [open(readers, theirs), open(readers, theirs)]
    const pipes: OutputPipes | undefined = isOurs
      ? [pipeName(out.read), pipeName(err.read)]
      : undefined
    for (const { write } of [out, err]) giveTo(owner, write)
    // They are the sink's from here on.
    readers.move()
    const sink = await openSink(stdout, owner, [out.read, err.read], log)
    const held = { theirs: theirs.move(), stdinWriter: stdinWriter.move(), pipes }
    return new LoggedStdio([stdin.fd, out.write, err.write], sink, held)
  }

  handedOver(): Promise<void> {
    this.#theirs.dispose()
    return Promise.resolve()
  }

  closeStdin(): void {
    this.#stdinWriter.dispose()
  }

  resize(): void {}

  /** The sink ends by itself when nobody can write to it any more. */
  async drained(): Promise<void> {
    await this.#sink.ended
  }

  [Symbol.dispose](): void {
    this.#theirs.dispose()
    this.#stdinWriter.dispose()
    this.#sink.close()
  }
}
