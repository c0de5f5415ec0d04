import type { Any } from '#core/any/any.ts'
import type { Context } from '#core/context.ts'

/**
 * A side channel to a client, for a call that needs more than an answer: progress, credentials, the
 * bytes of an archive. The client opens it under an id of its choice and names that in the call.
 *
 * Messages arrive in order, each once. Source: upstream `core/streaming/streaming.go`.
 */
export interface Stream {
  /**
   * Resolves when the transport has taken the message: a slow client holds up whoever sends.
   *
   * @throws the reason of `ctx.signal`; `unavailable` when the stream is closed.
   */
  send(ctx: Context, message: Any): Promise<void>
  /**
   * The next message of the client; undefined when it says that it sends no more.
   *
   * @throws the reason of `ctx.signal`; `unavailable` when the stream is closed.
   */
  receive(ctx: Context): Promise<Any | undefined>
  /** Ends the stream for both sides; what was sent still arrives. Again does nothing. */
  close(): void
}

/** The streams that clients have open, by `ctx.namespace` and id. */
export interface StreamManager {
  /**
   * Makes a stream known until it is disposed. With a lease in `ctx` the collector closes it when
   * that lease is gone; without one it stays as long as the client does.
   *
   * @throws `already_exists`; `failed_precondition` without a namespace.
   */
  register(ctx: Context, id: string, stream: Stream): Disposable
  /** @throws `not_found`. */
  get(ctx: Context, id: string): Stream
}
