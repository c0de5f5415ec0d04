import type { Context } from '#core/context.ts'
import type { Envelope, Followed, From } from '#core/events/events.ts'
import { Events } from '#gen/services/events_pb.ts'
import type { Connection } from '#lib/rpc/rpc.ts'

import { callOptions } from './call.ts'
import { envelopeFromProto, followedFromProto } from './convert/envelope.ts'

/**
 * Metadata of `Subscribe` with which a client asks to follow: a cursor, or `now`, or `oldest`. wharf's
 * own; without it the answer is what containerd gives.
 */
export const followKey = 'wharf-events-after'

/** Where to begin, as it travels. */
export const fromToText = (from: From): string => (typeof from === 'string' ? from : from.after)

/** The reverse. */
export const fromOfText = (text: string): From =>
  text === 'now' || text === 'oldest' ? text : { after: text }

/**
 * Events of another daemon from now on, that match any of `filters`; all when there is none.
 *
 * The call is made at once, but the daemon begins when it arrives there. It ends with `ctx.signal`.
 */
export function subscribe(
  ctx: Context,
  connection: Connection,
  filters: readonly string[] = [],
): AsyncIterable<Envelope> {
  const client = connection.client(Events)
  return mapped(client.subscribe({ filters: [...filters] }, callOptions(ctx)), envelopeFromProto)
}

/**
 * Events of another daemon from a place on, with cursors: see `Exchange.follow`. The first answer says
 * that the daemon has begun.
 *
 * @throws also `unimplemented`, with the first event, from a daemon that keeps none.
 */
export function follow(
  ctx: Context,
  connection: Connection,
  from: From,
  filters: readonly string[] = [],
): AsyncIterable<Followed> {
  const { metadata, ...options } = callOptions(ctx)
  const asking = { ...options, metadata: { ...metadata, [followKey]: fromToText(from) } }
  const client = connection.client(Events)
  return mapped(client.subscribe({ filters: [...filters] }, asking), followedFromProto)
}

async function* mapped<A, B>(messages: AsyncIterable<A>, map: (message: A) => B) {
  for await (const message of messages) yield map(message)
}
