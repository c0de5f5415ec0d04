import { closeSync, constants, fstatSync, openSync } from 'node:fs'

import type { ProcessStdio, StdioPaths } from './stdio.ts'

const { O_RDONLY, O_WRONLY, O_NONBLOCK } = constants

/**
 * Streams of a process whose host was killed: the process still has them, what is opened again are
 * the ends that a host keeps, so that clients may come and go. A terminal, and pipes that the host
 * copied from, ended with it.
 */
export class AdoptedStdio implements ProcessStdio {
  readonly #stdinWriter = new DisposableStack()
  readonly #ours = new DisposableStack()

  constructor(paths: StdioPaths, stdinClosed: boolean) {
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

  drained(): Promise<void> {
    return Promise.resolve()
  }

  [Symbol.dispose](): void {
    this.#stdinWriter.dispose()
    this.#ours.dispose()
  }
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
