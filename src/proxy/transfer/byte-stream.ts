import type { Context } from '#core/context.ts'
import type { Stream } from '#core/streaming/streaming.ts'
import { DataSchema, WindowUpdateSchema } from '#gen/types/transfer/streaming_pb.ts'
import { background } from '#lib/async/background.ts'
import { raceAbort } from '#lib/async/mutex.ts'
import { CodedError, hasCode, invalidArgument, unavailable } from '#lib/errors/errors.ts'
import { holds, pack, unpack } from '#proxy/convert/pack.ts'

import { DataFrames } from './data-frame.ts'

/*
 * Bytes over a stream. Whoever receives says how many it will take:
 *
 *   receiver   WindowUpdate 64 KiB   ·     ·    WindowUpdate 64 KiB   ·     …
 *   sender                         Data  Data                       Data    end
 *
 * The sender ends the stream behind the last byte. Source: upstream `core/transfer/streaming`.
 */

/** Bytes of one message. Source: upstream `maxRead`. */
const maxDataBytes = 32 << 10
/**
 * What a receiver grants at a time. Upstream's is 64 KiB; a sender takes any, and a larger one keeps
 * it from waiting for us.
 */
const windowBytes = 1 << 20

const frames = new DataFrames(maxDataBytes)

/**
 * Sends `bytes` as the receiver takes them. The stream stays open: whoever calls closes it.
 *
 * @throws what reading `bytes` throws; `unavailable` when the receiver leaves; the reason of the signal.
 */
export async function sendBytes(
  ctx: Context,
  stream: Stream,
  bytes: AsyncIterable<Uint8Array>,
): Promise<void> {
  await using credit = new Credit(ctx, stream)
  for await (const chunk of bytes) {
    for (let at = 0; at < chunk.length; ) {
      const end = at + (await credit.take(ctx, Math.min(chunk.length - at, maxDataBytes)))
      await stream.send(ctx, frames.frame(chunk.subarray(at, end)))
      at = end
    }
  }
}

/** What the receiver has granted and nobody has used. */
class Credit implements AsyncDisposable {
  #left = 0
  #over: { readonly err: unknown } | undefined
  #changed = Promise.withResolvers<void>()
  readonly #reading: AsyncDisposable

  constructor(ctx: Context, stream: Stream) {
    const read = async (signal: AbortSignal): Promise<void> => {
      const own = { ...ctx, signal: AbortSignal.any([ctx.signal, signal]) }
      for (;;) {
        const message = await stream.receive(own)
        if (!message) throw unavailable('the receiver has left before the end')
        if (holds(message, WindowUpdateSchema)) {
          this.#left += Math.max(0, unpack(WindowUpdateSchema, message).update)
          this.#wake()
        }
      }
    }
    this.#reading = background(read, (err) => {
      this.#over = { err }
      this.#wake()
    })
  }

  /** Waits for some, and takes at most `wanted`. */
  async take(ctx: Context, wanted: number): Promise<number> {
    while (this.#left === 0) {
      if (this.#over) throw this.#over.err
      await raceAbort(this.#changed.promise, ctx.signal)
    }
    const taken = Math.min(wanted, this.#left)
    this.#left -= taken
    return taken
  }

  #wake(): void {
    this.#changed.resolve()
    this.#changed = Promise.withResolvers()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reading[Symbol.asyncDispose]()
  }
}

/**
 * The bytes that the other side sends, until it ends. Leaving the loop early tells the sender nothing:
 * whoever calls closes the stream.
 *
 * @throws `invalid_argument` for a message that is no data; what `stream` throws.
 */
export async function* receiveBytes(
  ctx: Context,
  stream: Stream,
): AsyncGenerator<Uint8Array, void, undefined> {
  let granted = 0
  for (;;) {
    if (granted <= windowBytes / 2) {
      await grant(ctx, stream)
      granted += windowBytes
    }
    const message = await stream.receive(ctx)
    if (!message) return
    if (!holds(message, DataSchema)) {
      throw invalidArgument(`a stream of bytes has a message of type ${message.typeUrl}`)
    }
    const { data } = unpack(DataSchema, message)
    granted -= data.length
    if (data.length > 0) yield data
  }
}

/** A sender that has sent everything takes no more grants, and what it sent is still to be read. */
async function grant(ctx: Context, stream: Stream): Promise<void> {
  try {
    await stream.send(ctx, pack(WindowUpdateSchema, { update: windowBytes }))
  } catch (err) {
    if (!(err instanceof CodedError) || !hasCode(err, 'unavailable')) throw err
  }
}
