import { closeSync, openSync } from 'node:fs'

import { syncfs, syncfsLater } from '#sys/file.ts'

/** How many bytes are unpacked between two syncs; others stand behind them. */
const interval = 16 << 20

/**
 * Brings a tree of many files to the disk while it grows. A sync for each file costs more than
 * unpacking it, and one for all at the end finds a disk that was idle until then; so the file system
 * is synced now and then beside the thread that unpacks, and the sync at the end finds little to do.
 */
export class SyncAhead implements AsyncDisposable {
  /** Open from the start: what could not be written since then fails each of its syncs. */
  readonly #fd: number
  #synced = 0
  #running: Promise<void> | undefined
  #failure: { readonly err: unknown } | undefined

  /** @throws {SystemError} */
  constructor(path: string) {
    this.#fd = openSync(path, 'r')
  }

  /** So many bytes of all that was unpacked would go to the disk at its end. */
  grown(bytes: number): void {
    if (bytes - this.#synced < interval || this.#running) return
    this.#synced = bytes
    this.#running = this.#run()
  }

  /** All that was unpacked is on disk. It blocks the thread. @throws {SystemError} also of what could not be written before */
  async sync(): Promise<void> {
    await this.#running
    if (this.#failure) throw this.#failure.err
    syncfs(this.#fd)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#running
    closeSync(this.#fd)
  }

  async #run(): Promise<void> {
    try {
      await syncfsLater(this.#fd)
    } catch (err) {
      this.#failure ??= { err }
    }
    this.#running = undefined
  }
}
