import type { Envelope, Exchange, Followed } from '#core/events/events.ts'
import { Events as ShimEvents } from '#gen/services/events-ttrpc_pb.ts'
import { Events } from '#gen/services/events_pb.ts'
import { CodedError, describe } from '#lib/errors/errors.ts'
import { type RegisteredService, implement } from '#lib/rpc/rpc.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { ApiPlugin, EventPlugin, type RpcContext } from '#plugins/types.ts'
import { anyOrEmpty } from '#proxy/convert/any.ts'
import { envelopeFromProto, envelopeToProto, followedToProto } from '#proxy/convert/envelope.ts'
import { followKey, fromOfText } from '#proxy/events.ts'

/** The service `containerd.services.events.v1.Events`, for clients. */
export const eventsApi = (exchange: Exchange): RegisteredService<RpcContext> =>
  implement(Events, {
    publish({ topic, event }, ctx) {
      exchange.publish(ctx, topic, anyOrEmpty(event))
      return {}
    },
    forward({ envelope }, ctx) {
      exchange.forward(ctx, envelopeFromProto(envelope))
      return {}
    },
    subscribe: ({ filters }, ctx) => subscribe(ctx, exchange, filters),
  })

/** The service `containerd.services.events.ttrpc.v1.Events`, to which shims report. */
export const shimEventsApi = (exchange: Exchange): RegisteredService<RpcContext> =>
  implement(ShimEvents, {
    forward({ envelope }, ctx) {
      exchange.forward(ctx, envelopeFromProto(envelope))
      return {}
    },
  })

/** Not a generator itself: the subscription begins with the call, before anybody reads. */
function subscribe(ctx: RpcContext, exchange: Exchange, filters: readonly string[]) {
  const from = ctx.call.metadata.get(followKey)
  if (from !== undefined) return places(exchange.follow(ctx, fromOfText(from), filters))
  try {
    return envelopes(exchange.subscribe(ctx, filters))
  } catch (err) {
    // containerd gives this error no class: clients match on the text alone.
    throw new CodedError('unknown', `subscription error: ${describe(err)}`, { cause: err })
  }
}

async function* envelopes(events: AsyncIterable<Envelope>) {
  for await (const envelope of events) yield envelopeToProto(envelope)
}

async function* places(events: AsyncIterable<Followed>) {
  for await (const followed of events) yield followedToProto(followed)
}

/** `io.containerd.grpc.v1.events`. */
export const eventsApiPlugin = definePlugin({
  type: ApiPlugin,
  id: 'events',
  requires: { exchange: EventPlugin },
  init: ({ deps }) => ({
    grpc: [eventsApi(deps.exchange)],
    ttrpc: [shimEventsApi(deps.exchange)],
  }),
})
