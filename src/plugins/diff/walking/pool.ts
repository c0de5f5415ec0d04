import { type MessagePort, Worker } from 'node:worker_threads'

import type { Context } from '#core/context.ts'
import { internal } from '#lib/errors/errors.ts'

import { fromWire, type Job, type JobResult, type Outcome } from './jobs.ts'

/** How long an idle worker is kept, in milliseconds: starting one costs more than a small layer. */
const idleMs = 30_000

type Without<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never

/** A job, without what the pool adds. */
export type NewJob = Without<Job, 'cancelled' | 'tempDir'>

export interface PoolOptions {
  readonly workers: number
  readonly tempDir: string
}

interface Waiting {
  readonly resolve: (worker: Worker) => void
}

/** A few worker threads, started when needed; jobs that find none wait for their turn. */
export class WorkerPool implements AsyncDisposable {
  readonly #options: PoolOptions
  readonly #idle: { readonly worker: Worker; readonly timer: NodeJS.Timeout }[] = []
  readonly #waiting: Waiting[] = []
  #count = 0

  constructor(options: PoolOptions) {
    this.#options = options
  }

  /**
   * Runs a job in a worker. A cancelled job is stopped, and has undone its mounts when this throws.
   *
   * @throws what the job throws, or the reason of the signal.
   */
  async run(ctx: Context, job: NewJob, transfer: readonly MessagePort[] = []): Promise<JobResult> {
    ctx.signal.throwIfAborted()
    const worker = await this.#acquire()
    const cancelled = new Int32Array(new SharedArrayBuffer(4))
    const cancel = (): void => void Atomics.store(cancelled, 0, 1)
    ctx.signal.addEventListener('abort', cancel, { once: true })
    if (ctx.signal.aborted) cancel()
    try {
      const { tempDir } = this.#options
      const outcome = outcomeOf(worker)
      worker.postMessage({ ...job, cancelled, tempDir }, transfer)
      const done = await outcome
      if ('result' in done) return done.result
      ctx.signal.throwIfAborted()
      throw fromWire(done.error)
    } finally {
      ctx.signal.removeEventListener('abort', cancel)
      this.#release(worker)
    }
  }

  /** Ends the idle workers; nothing may run any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    const idle = this.#idle.splice(0)
    for (const { timer } of idle) clearTimeout(timer)
    await Promise.all(idle.map(({ worker }) => worker.terminate()))
  }

  async #acquire(): Promise<Worker> {
    const idle = this.#idle.pop()
    if (idle) {
      clearTimeout(idle.timer)
      idle.worker.ref()
      return idle.worker
    }
    if (this.#count < this.#options.workers) return this.#start()
    const { promise, resolve } = Promise.withResolvers<Worker>()
    this.#waiting.push({ resolve })
    return await promise
  }

  #start(): Worker {
    this.#count++
    const worker = new Worker(new URL('./worker.ts', import.meta.url), {
      name: 'wharf-diff',
      // Native calls open files too, which Node would take for someone else's.
      trackUnmanagedFds: false,
    })
    // Whoever waits for its outcome hears of it too; without a listener it would end the daemon.
    worker.on('error', () => undefined)
    return worker
  }

  #release(worker: Worker): void {
    if (worker.threadId === -1) {
      this.#count--
      const next = this.#waiting.shift()
      next?.resolve(this.#start())
      return
    }
    const next = this.#waiting.shift()
    if (next) return next.resolve(worker)
    worker.unref()
    const timer = setTimeout(() => this.#retire(worker), idleMs).unref()
    this.#idle.push({ worker, timer })
  }

  #retire(worker: Worker): void {
    const at = this.#idle.findIndex((each) => each.worker === worker)
    if (at < 0) return
    this.#idle.splice(at, 1)
    this.#count--
    void worker.terminate()
  }
}

/** The next message of a worker, or its end. */
async function outcomeOf(worker: Worker): Promise<Outcome> {
  const { promise, resolve, reject } = Promise.withResolvers<Outcome>()
  const onError = (cause: unknown): void => reject(internal('the worker failed', { cause }))
  const onExit = (): void => reject(internal('the worker ended'))
  worker.once('message', resolve).once('error', onError).once('exit', onExit)
  try {
    return await promise
  } finally {
    worker.off('message', resolve).off('error', onError).off('exit', onExit)
  }
}
