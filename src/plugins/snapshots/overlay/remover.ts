import { availableParallelism } from 'node:os'

import type { TreeRemover } from '#core/snapshots/storage/snapshot-dirs.ts'

import { RemoveThread, type RemoveJob } from './remove-thread.ts'

/** Removes trees on threads: each tree by two of them, one from either end, where there is room for two. */
export class WorkerRemover implements TreeRemover, AsyncDisposable {
  readonly #first = new RemoveThread()
  readonly #last = availableParallelism() > 1 ? new RemoveThread() : undefined

  async remove(path: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    const cancelled = new Int32Array(new SharedArrayBuffer(4))
    const cancel = (): void => void Atomics.store(cancelled, 0, 1)
    signal.addEventListener('abort', cancel, { once: true })
    try {
      await this.#remove({ path, cancelled })
    } catch (err) {
      signal.throwIfAborted()
      throw err
    } finally {
      signal.removeEventListener('abort', cancel)
    }
  }

  /** Ends the threads; whatever they have not removed is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      [this.#first, this.#last].map(async (thread) => await thread?.[Symbol.asyncDispose]()),
    )
  }

  async #remove(job: Pick<RemoveJob, 'path' | 'cancelled'>): Promise<void> {
    const runs = [this.#first.run({ ...job, meeting: 'first' })]
    if (this.#last) runs.push(this.#last.run({ ...job, meeting: 'last' }))
    const outcomes = await Promise.allSettled(runs)
    const failure = outcomes.find((outcome) => outcome.status === 'rejected')
    if (failure) throw failure.reason
    const isGone = outcomes.some((outcome) => outcome.status === 'fulfilled' && outcome.value)
    // Where they met, one may have found a directory that the other was about to remove.
    if (!isGone) await this.#first.run(job)
  }
}
