import { type MessagePort, Worker } from 'node:worker_threads'

import type { Context } from '#core/context.ts'
import { describe, internal, resourceExhausted } from '#lib/errors/errors.ts'
import { entryUrl } from '#lib/release/release.ts'

import { fromWire, type Job, type JobResult, type Outcome } from './jobs.ts'
import { removeLeftMounts } from './mounted.ts'

/** How long an idle worker is kept, in milliseconds: starting one costs more than a small layer. */
const idleMs = 30_000

type Without<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never

/** A job, without what the pool adds. */
export type NewJob = Without<Job, 'cancelled' | 'tempDir'>

export interface PoolOptions {
  readonly workers: number
  readonly tempDir: string
  /** How much of JavaScript's memory one job may use, in MB; 512 unless given. */
  readonly heapMb?: number
}

const defaultHeapMb = 512
/**
 * Small, so that it is collected often: the buffers that went through a worker are not on V8's heap,
 * and would be kept until 64 MB of them had come together.
 */
const youngMb = 3

/** A few worker threads, started when needed; jobs that find none wait for their turn. */
export class WorkerPool implements AsyncDisposable {
  readonly #options: PoolOptions
  readonly #idle: { readonly worker: Worker; readonly timer: NodeJS.Timeout }[] = []
  readonly #waiting = new Set<(worker: Worker) => void>()
  readonly #running = new Set<Promise<JobResult>>()
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
    const worker = await this.#acquire(ctx.signal)
    const running = this.#runIn(worker, ctx, { job, transfer })
    this.#running.add(running)
    try {
      return await running
    } finally {
      this.#running.delete(running)
      this.#release(worker)
    }
  }

  async #runIn(
    worker: Worker,
    ctx: Context,
    { job, transfer }: { readonly job: NewJob; readonly transfer: readonly MessagePort[] },
  ): Promise<JobResult> {
    ctx.signal.throwIfAborted()
    const cancelled = new Int32Array(new SharedArrayBuffer(4))
    const { threadId } = worker
    const cancel = (): void => {
      Atomics.store(cancelled, 0, 1)
      Atomics.notify(cancelled, 0)
    }
    ctx.signal.addEventListener('abort', cancel, { once: true })
    try {
      const outcome = outcomeOf(worker)
      worker.postMessage({ ...job, cancelled, tempDir: this.#options.tempDir }, transfer)
      const done = await outcome
      if ('result' in done) return done.result
      ctx.signal.throwIfAborted()
      throw fromWire(done.error)
    } catch (err) {
      // It could not undo what it had mounted.
      if (hasEnded(worker)) {
        removeLeftMounts(this.#options.tempDir, (path, cause) => warn(ctx, path, cause), threadId)
      }
      throw err
    } finally {
      ctx.signal.removeEventListener('abort', cancel)
    }
  }

  /** Waits for the jobs that run, which their callers cancel, and ends the workers. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#running)
    const idle = this.#idle.splice(0)
    this.#count -= idle.length
    for (const { timer } of idle) clearTimeout(timer)
    await Promise.all(idle.map(({ worker }) => worker.terminate()))
  }

  async #acquire(signal: AbortSignal): Promise<Worker> {
    signal.throwIfAborted()
    for (let idle = this.#idle.pop(); idle; idle = this.#idle.pop()) {
      const { worker, timer } = idle
      clearTimeout(timer)
      if (!hasEnded(worker)) {
        worker.ref()
        return worker
      }
      // Nothing would ever answer.
      this.#count--
    }
    return this.#count < this.#options.workers ? this.#start() : await this.#wait(signal)
  }

  /** A worker that another job is done with. One that comes too late goes to the next. */
  async #wait(signal: AbortSignal): Promise<Worker> {
    const { promise, resolve, reject } = Promise.withResolvers<Worker>()
    const onAbort = (): void => {
      // At once: a worker given to whoever has left would be lost.
      this.#waiting.delete(resolve)
      reject(signal.reason)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    this.#waiting.add(resolve)
    try {
      return await promise
    } finally {
      signal.removeEventListener('abort', onAbort)
      this.#waiting.delete(resolve)
    }
  }

  #start(): Worker {
    this.#count++
    const worker = new Worker(entryUrl('plugins/diff/walking/worker'), {
      name: 'wharf-diff',
      // Native calls open files too, which Node would take for someone else's.
      trackUnmanagedFds: false,
      resourceLimits: {
        maxOldGenerationSizeMb: this.#options.heapMb ?? defaultHeapMb,
        maxYoungGenerationSizeMb: youngMb,
      },
    })
    // Whoever waits for its outcome hears of it too; without a listener it would end the daemon.
    worker.on('error', () => undefined)
    return worker
  }

  #release(worker: Worker): void {
    const [next] = this.#waiting
    const ended = hasEnded(worker)
    if (next) {
      this.#waiting.delete(next)
      if (ended) this.#count--
      next(ended ? this.#start() : worker)
    } else if (ended) {
      this.#count--
    } else {
      worker.unref()
      const timer = setTimeout(() => this.#retire(worker), idleMs).unref()
      this.#idle.push({ worker, timer })
    }
  }

  #retire(worker: Worker): void {
    const at = this.#idle.findIndex((each) => each.worker === worker)
    if (at < 0) return
    this.#idle.splice(at, 1)
    this.#count--
    void worker.terminate()
  }
}

const warn = (ctx: Context, path: string, cause: unknown): void =>
  ctx.log.warn('cannot clean up a temporary mount', { path, error: describe(cause) })

const hasEnded = (worker: Worker): boolean => worker.threadId === -1

function failureOf(cause: unknown): Error {
  const tooMuch =
    cause instanceof Error && 'code' in cause && cause.code === 'ERR_WORKER_OUT_OF_MEMORY'
  return tooMuch
    ? resourceExhausted('the layer takes more memory than one may: it has too many entries', {
        cause,
      })
    : internal('the worker failed', { cause })
}

/** The next message of a worker, or its end. */
async function outcomeOf(worker: Worker): Promise<Outcome> {
  const { promise, resolve, reject } = Promise.withResolvers<Outcome>()
  const onError = (cause: unknown): void => reject(failureOf(cause))
  const onExit = (): void => reject(internal('the worker ended'))
  worker.once('message', resolve).once('error', onError).once('exit', onExit)
  try {
    return await promise
  } finally {
    worker.off('message', resolve).off('error', onError).off('exit', onExit)
  }
}
