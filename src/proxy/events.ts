import type { Context } from '#core/context.ts'
import type { Envelope } from '#core/events/events.ts'
import { Events } from '#gen/services/events_pb.ts'
import type { Connection } from '#lib/rpc/rpc.ts'

import { callOptions } from './call.ts'
import { envelopeFromProto } from './convert/envelope.ts'

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
  return fromMessages(client.subscribe({ filters: [...filters] }, callOptions(ctx)))
}

async function* fromMessages(messages: AsyncIterable<Parameters<typeof envelopeFromProto>[0]>) {
  for await (const message of messages) yield envelopeFromProto(message)
}
