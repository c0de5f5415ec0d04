import { Worker } from 'node:worker_threads'

import { internal } from '#lib/errors/errors.ts'
import { entryUrl } from '#lib/release/release.ts'
import type { TreeRemoval } from '#sys/tree.ts'

/*
 *     main ── RemoveJob ──► worker
 *     main ◄── Removed ──── worker     in the same order
 */

/** A tree to remove. */
export interface RemoveJob extends Pick<TreeRemoval, 'meeting'> {
  readonly id: number
  readonly path: string
  /** One number in shared memory; 1 asks the worker to stop. */
  readonly cancelled: Int32Array
}

/** It is gone, or why it is not: an error, or another thread that is not done with it. */
export interface Removed {
  readonly id: number
  readonly gone: boolean
  readonly error?: string
}

/** How long the thread is kept when there is nothing to remove, in ms. */
const idleMs = 10_000
/** Names of a directory that are held at once take most of it. In MB. */
const heapMb = 256

type Outcome = PromiseWithResolvers<boolean>

/** A thread that removes trees; it is started when there is one, and ends some time after the last. */
export class RemoveThread implements AsyncDisposable {
  readonly #waiting = new Map<number, Outcome>()
  #worker: Worker | undefined
  #timer: NodeJS.Timeout | undefined
  #next = 0

  /** @returns whether the tree is gone. */
  async run(job: Omit<RemoveJob, 'id'>): Promise<boolean> {
    clearTimeout(this.#timer)
    const worker = (this.#worker ??= this.#start())
    const id = this.#next++
    const outcome = Promise.withResolvers<boolean>()
    this.#waiting.set(id, outcome)
    worker.ref()
    worker.postMessage({ ...job, id } satisfies RemoveJob, [])
    try {
      return await outcome.promise
    } finally {
      this.#waiting.delete(id)
      if (this.#waiting.size === 0) this.#rest(worker)
    }
  }

  /** Ends the thread; whatever it has not removed is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer)
    await this.#worker?.terminate()
  }

  #start(): Worker {
    const worker = new Worker(entryUrl('plugins/snapshots/overlay/remove-worker'), {
      name: 'wharf-remove',
      // Native calls open files too, which Node would take for someone else's.
      trackUnmanagedFds: false,
      resourceLimits: { maxOldGenerationSizeMb: heapMb },
    })
    worker.on('message', ({ id, gone, error }: Removed) => {
      const outcome = this.#waiting.get(id)
      if (error === undefined) outcome?.resolve(gone)
      else outcome?.reject(new Error(error))
    })
    const onEnd = (cause?: unknown): void => {
      // One that was sent away had nothing to do; who waits, waits for another.
      if (this.#worker !== worker) return
      this.#worker = undefined
      const err = internal('the thread that removes trees has ended', { cause })
      for (const { reject } of this.#waiting.values()) reject(err)
    }
    worker.on('error', onEnd)
    worker.on('exit', () => onEnd())
    return worker
  }

  /** Nothing is left to remove for now. */
  #rest(worker: Worker): void {
    worker.unref()
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      if (this.#worker === worker) this.#worker = undefined
      void worker.terminate()
    }, idleMs).unref()
  }
}
