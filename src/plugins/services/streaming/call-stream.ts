import type { Any } from '#core/any/any.ts'
import type { Context } from '#core/context.ts'
import type { Stream } from '#core/streaming/streaming.ts'
import { raceAbort } from '#lib/async/mutex.ts'
import { type CodedError, unavailable } from '#lib/errors/errors.ts'
import { Inbox } from '#lib/rpc/inbox.ts'

/** A stream that is a call: what is sent are its answers, what is received its requests. */
export class CallStream implements Stream {
  /** What is sent, for whoever answers the call. */
  readonly answers: Inbox<Any>
  readonly #requests: AsyncIterator<Any>
  readonly #closed = new AbortController()
  /** A caller's signal with the end of the stream: the same callers come again and again. */
  readonly #signals = new WeakMap<AbortSignal, AbortSignal>()
  #taken = Promise.withResolvers<void>()

  constructor(requests: AsyncIterator<Any>) {
    this.#requests = requests
    this.answers = new Inbox({
      onEmpty: () => this.#taken.resolve(),
      onReturn: () => this.close(),
    })
  }

  async send(ctx: Context, message: Any): Promise<void> {
    this.#closed.signal.throwIfAborted()
    this.answers.push(message)
    if (this.answers.size === 0) return
    this.#taken = Promise.withResolvers()
    await this.#unlessClosed(ctx, this.#taken.promise)
  }

  async receive(ctx: Context): Promise<Any | undefined> {
    const { done, value } = await this.#unlessClosed(ctx, this.#requests.next())
    return done ? undefined : { typeUrl: value.typeUrl, value: value.value }
  }

  close(): void {
    this.#closed.abort(closed())
    this.answers.end()
  }

  async #unlessClosed<T>(ctx: Context, promise: Promise<T>): Promise<T> {
    const signal = this.#signals.getOrInsertComputed(ctx.signal, (given) =>
      AbortSignal.any([given, this.#closed.signal]),
    )
    return await raceAbort(promise, signal)
  }
}

const closed = (): CodedError => unavailable('the stream is closed')
