import { background, native, uninterrupted } from './libc.ts'

/*
 * Whoever writes a large file and syncs it at the end leaves the disk idle while the file is made, and
 * then gives it everything at once; every other sync of the machine stands behind that, one of a
 * database too. So a file goes to the disk while it grows:
 *
 *     |  on disk  |  being written  |  in memory  |
 *     0         begun - 1 MB      begun          end
 *
 * What is being written is waited for before more is begun. It makes nothing durable: a sync at the end
 * does, and finds little to do.
 *
 * Source: sync_file_range(2).
 */

/** How much is begun at once, in bytes; twice as much is what the sync of a database may stand behind. */
export const writeWindow: number = 1 << 20

const [waitBefore, start, waitAfter] = [1, 2, 4]
const prototype = 'int sync_file_range(int fd, int64_t offset, int64_t size, uint flags)'
const syncRange = native(prototype)
const syncRangeBeside = background(prototype)
const call = 'sync_file_range'

/** A part of a file, and what is to be done about it. */
interface Step {
  readonly from: number
  readonly size: number
  readonly flags: number
}

/** What has to be done as a file grows. */
class Progress {
  #before = 0
  #begun: number

  constructor(from: number) {
    this.#begun = from
    this.#before = from
  }

  get begun(): number {
    return this.#begun
  }

  /** Nothing, until there is enough. */
  *to(end: number): Generator<Step> {
    if (end - this.#begun < writeWindow) return
    const [before, begun] = [this.#before, this.#begun]
    this.#before = begun
    this.#begun = end
    if (begun > before) {
      yield { from: before, size: begun - before, flags: waitBefore | start | waitAfter }
    }
    yield { from: begun, size: end - begun, flags: start }
  }
}

/** For a thread that may block. */
export class WriteBehind {
  readonly #fd: number
  readonly #progress = new Progress(0)

  constructor(fd: number) {
    this.#fd = fd
  }

  /** Nothing comes after `end`. @returns how many bytes did not begin to go to the disk. @throws {SystemError} */
  ended(end: number): number {
    const from = this.#progress.begun
    if (from === 0) return end
    if (end > from) uninterrupted(() => syncRange(this.#fd, from, end - from, start), call)
    return 0
  }

  /** The file reaches to `end` now. @throws {SystemError} also of what could not be written before */
  grown(end: number): void {
    for (const { from, size, flags } of this.#progress.to(end)) {
      uninterrupted(() => syncRange(this.#fd, from, size, flags), call)
    }
  }
}

/** For the thread of the event loop. */
export class WriteBehindBeside {
  readonly #fd: number
  readonly #progress: Progress
  #running: Promise<void> = Promise.resolve()

  /** @param from - Up to here the file is no concern of this one. */
  constructor(fd: number, from: number) {
    this.#fd = fd
    this.#progress = new Progress(from)
  }

  /** The file reaches to `end` now. @throws {SystemError} also of what could not be written before */
  async grown(end: number): Promise<void> {
    const steps = [...this.#progress.to(end)]
    if (steps.length === 0) return
    const before = this.#running
    const running = (async () => {
      await before
      for (const { from, size, flags } of steps) {
        await syncRangeBeside(call, this.#fd, from, size, flags)
      }
    })()
    this.#running = running
    await running
  }

  /** Nothing works on the file any more. */
  async idle(): Promise<void> {
    await this.#running.catch(() => undefined)
  }
}
