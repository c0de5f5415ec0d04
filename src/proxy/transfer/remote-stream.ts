import type { Any } from '#core/any/any.ts'
import type { Context } from '#core/context.ts'
import type { Stream } from '#core/streaming/streaming.ts'
import { StreamInitSchema, Streaming } from '#gen/services/streaming_pb.ts'
import { raceAbort } from '#lib/async/mutex.ts'
import { unavailable } from '#lib/errors/errors.ts'
import { Inbox } from '#lib/rpc/inbox.ts'
import type { Connection } from '#lib/rpc/rpc.ts'
import { callOptions } from '#proxy/call.ts'
import { pack } from '#proxy/convert/pack.ts'

/** A stream of another daemon, as the client sees it that has opened it. */
export class RemoteStream implements Stream, AsyncDisposable {
  readonly id: string
  readonly #requests: Inbox<Any>
  readonly #answers: AsyncIterator<Any>
  readonly #over = new AbortController()
  #taken = Promise.withResolvers<void>()

  private constructor(ctx: Context, connection: Connection, id: string) {
    this.id = id
    this.#requests = new Inbox({
      onEmpty: () => this.#taken.resolve(),
      onReturn: () => this.#over.abort(unavailable('the stream is closed')),
    })
    const call = connection.client(Streaming).stream(this.#requests, callOptions(ctx))
    this.#answers = call[Symbol.asyncIterator]()
  }

  /**
   * Opens a stream under `id`, which the daemon then knows until it is disposed.
   *
   * @throws `already_exists`; `unimplemented` from a daemon that has no streams.
   */
  static async open(ctx: Context, connection: Connection, id: string): Promise<RemoteStream> {
    const stream = new RemoteStream(ctx, connection, id)
    try {
      stream.#requests.push(pack(StreamInitSchema, { id }))
      const first = await raceAbort(stream.#answers.next(), ctx.signal)
      if (first.done) throw unavailable(`stream ${JSON.stringify(id)} was closed at once`)
      return stream
    } catch (err) {
      await stream[Symbol.asyncDispose]()
      throw err
    }
  }

  async send(ctx: Context, message: Any): Promise<void> {
    this.#over.signal.throwIfAborted()
    this.#requests.push(message)
    if (this.#requests.size === 0) return
    this.#taken = Promise.withResolvers()
    await raceAbort(this.#taken.promise, AbortSignal.any([ctx.signal, this.#over.signal]))
  }

  async receive(ctx: Context): Promise<Any | undefined> {
    const { done, value } = await raceAbort(this.#answers.next(), ctx.signal)
    return done ? undefined : { typeUrl: value.typeUrl, value: value.value }
  }

  /** Says that no more is sent; what the daemon still sends can be received. */
  close(): void {
    this.#requests.end()
  }

  /** Gives the call up. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#requests.end()
    await this.#answers.return?.()
  }
}
