import { Worker } from 'node:worker_threads'

import { group } from '#lib/async/group.ts'
import { internal } from '#lib/errors/errors.ts'
import { entryUrl } from '#lib/release/release.ts'
import { fromWire } from '#plugins/diff/walking/jobs.ts'

import type { Job, Outcome, Results, Task } from './jobs.ts'

/** A few worker threads, each with one job at a time. */
export class Crew implements AsyncDisposable {
  readonly size: number
  readonly #idle: Worker[] = []
  readonly #all = new Set<Worker>()
  readonly #counter = new BigInt64Array(new SharedArrayBuffer(8))

  /** @param size - How many jobs are done at once. */
  constructor(size: number) {
    this.size = size
  }

  /** Bytes that the jobs have read so far. */
  get bytesRead(): number {
    return Number(Atomics.load(this.#counter, 0))
  }

  /** Runs `work` for each item, as many at once as there are workers. The first failure ends it. */
  async each<T>(
    items: Iterable<T>,
    signal: AbortSignal,
    work: (item: T, signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    const next = Iterator.from(items)
    await group(
      { signal },
      Array.from({ length: this.size }, () => async (own: { readonly signal: AbortSignal }) => {
        for (let item = next.next(); item.done !== true; item = next.next()) {
          own.signal.throwIfAborted()
          await work(item.value, own.signal)
        }
      }),
    )
  }

  /** Does one job in a worker. A cancelled job ends with its worker. @throws what the job throws. */
  async run<K extends Job['kind']>(
    job: Extract<Job, { readonly kind: K }>,
    signal: AbortSignal,
  ): Promise<Results[K]> {
    signal.throwIfAborted()
    const worker = this.#idle.pop() ?? this.#start()
    const stop = (): void => void worker.terminate()
    signal.addEventListener('abort', stop, { once: true })
    try {
      const outcome = outcomeOf(worker)
      worker.postMessage({ job, counter: this.#counter } satisfies Task, [])
      const done = await outcome
      this.#idle.push(worker)
      if ('error' in done) throw fromWire(done.error)
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a job's result is of its kind
      return done.result as Results[K]
    } catch (err) {
      signal.throwIfAborted()
      throw err
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(Array.from(this.#all, (worker) => worker.terminate()))
  }

  #start(): Worker {
    const worker = new Worker(entryUrl('doctor/crew/worker'), {
      name: 'wharf-doctor',
      // Native calls open files too, which Node would take for someone else's.
      trackUnmanagedFds: false,
    })
    this.#all.add(worker)
    // Whoever waits for its outcome hears of it too; without a listener it would end the program.
    worker.on('error', () => undefined)
    worker.once('exit', () => void this.#all.delete(worker))
    return worker
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
