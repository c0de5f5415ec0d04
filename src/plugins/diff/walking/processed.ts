import { once } from 'node:events'
import { openSync } from 'node:fs'
import { Socket } from 'node:net'
import type { MessagePort } from 'node:worker_threads'

import { CodedError, describe } from '#lib/errors/errors.ts'
import { within } from '#lib/rpc/within.ts'
import { pipe } from '#sys/fifo.ts'

import type { Processing } from './jobs.ts'
import { pulledPieces } from './piece-port.ts'
import { feed, named, Processor } from './processor.ts'

/** How long a program may take to say why it failed once what it made was found to be bad, ms. */
const explainMs = 250

/**
 * A layer on its way through stream processors, each a process that reads from the one before. Only
 * what the last one makes comes through this thread:
 *
 *     blob ──► processor ──► processor ──► pieces
 *
 * Disposal kills those that run.
 */
export class ProcessedLayer implements Disposable {
  readonly #processors: Processor[] = []
  /** In the order of time: one that fails takes those before and after it along. */
  readonly #failures: Error[] = []
  readonly #output: Socket
  readonly #idleMs: number
  readonly #scope = new DisposableStack()

  /** Starts the processors. `blob` is a file, or where pieces come from. */
  constructor(blob: string | MessagePort, { steps, idleMs }: Processing) {
    this.#idleMs = idleMs
    let output = typeof blob === 'string' ? openSync(blob, 'r') : this.#feed(blob)
    for (const step of steps) {
      const onFailure = (err: Error): void => void this.#failures.push(err)
      const processor = this.#scope.use(new Processor(step, output, onFailure))
      this.#processors.push(processor)
      output = processor.output
    }
    this.#output = new Socket({ fd: output, readable: true, writable: false })
    this.#output.on('error', () => undefined)
    this.#scope.defer(() => this.#output.destroy())
  }

  /**
   * What the last processor makes.
   *
   * @throws when one fails, or is silent for too long, naming it; the reason of `signal`.
   */
  async *pieces(signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const chunks = this.#output[Symbol.asyncIterator]()
    for (;;) {
      const chunk = await this.#inTime(chunks.next(), signal)
      if (chunk.done) break
      if (chunk.value instanceof Uint8Array) yield chunk.value
    }
    for (const { ended } of this.#processors) await this.#inTime(ended, signal)
    const [first] = this.#failures
    if (first) throw first
  }

  /** The error to tell when the layer could not be used because of `cause`. */
  async explain(cause: unknown): Promise<unknown> {
    const ended = Promise.all(this.#processors.map((processor) => processor.ended))
    await within(ended, explainMs)
    const [first] = this.#failures
    if (first) return first
    // The disk's errors, and those that already say whose they are.
    if (cause instanceof CodedError || !(cause instanceof Error) || 'syscall' in cause) return cause
    if (cause.message.startsWith('stream processor ')) return cause
    const last = this.#processors.at(-1)
    return last ? named(last.id, `makes a bad layer: ${describe(cause)}`) : cause
  }

  [Symbol.dispose](): void {
    this.#scope.dispose()
  }

  #feed(port: MessagePort): number {
    const { read, write } = pipe()
    // A source that fails ends; whoever serves it knows why.
    void feed(pulledPieces(port), write).catch(() => undefined)
    return read
  }

  /** `wanted`, unless it takes longer than a processor may be silent. */
  async #inTime<T>(wanted: Promise<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted()
    const late = Promise.withResolvers<never>()
    const listening = new AbortController()
    using _timer =
      this.#idleMs > 0 ? setTimeout(() => late.reject(this.#hang()), this.#idleMs) : undefined
    void once(signal, 'abort', listening).then(
      () => late.reject(signal.reason),
      () => undefined,
    )
    try {
      return await Promise.race([wanted, late.promise])
    } finally {
      listening.abort()
    }
  }

  #hang(): Error {
    const ids = this.#processors.map(({ id }) => id).join(' | ')
    return named(ids, `made nothing for ${this.#idleMs} ms, and was killed`)
  }
}
