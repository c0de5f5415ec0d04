import type { MessageInitShape } from '@bufbuild/protobuf'

import type { Envelope, Followed } from '#core/events/events.ts'
import type { Envelope as EnvelopeMessage, EnvelopeSchema } from '#gen/types/event_pb.ts'
import { unimplemented } from '#lib/errors/errors.ts'

import { anyOrEmpty } from './any.ts'
import { timestampToProto } from './timestamp.ts'

/** An event as it travels. */
export const envelopeToProto = (envelope: Envelope): MessageInitShape<typeof EnvelopeSchema> => ({
  timestamp: timestampToProto(envelope.timestamp),
  namespace: envelope.namespace,
  topic: envelope.topic,
  event: envelope.event,
})

/** The event in a message; without a timestamp it is of the epoch, as Go reads it. */
export const envelopeFromProto = (envelope: EnvelopeMessage | undefined): Envelope => ({
  timestamp: {
    seconds: envelope?.timestamp?.seconds ?? 0n,
    nanos: envelope?.timestamp?.nanos ?? 0,
  },
  namespace: envelope?.namespace ?? '',
  topic: envelope?.topic ?? '',
  event: anyOrEmpty(envelope?.event),
})

/** What a follower gets, as it travels: in an envelope that has only a cursor when it is no event. */
export function followedToProto(followed: Followed): MessageInitShape<typeof EnvelopeSchema> {
  const { kind, cursor } = followed
  if (kind === 'event') return { ...envelopeToProto(followed.envelope), cursor }
  return kind === 'gap'
    ? { cursor, gap: followed.lost === undefined ? {} : { lost: BigInt(followed.lost) } }
    : { cursor }
}

/** The reverse. @throws `unimplemented` for an envelope without a cursor: its sender knows none. */
export function followedFromProto(message: EnvelopeMessage): Followed {
  const { cursor, gap } = message
  if (cursor === '') throw unimplemented('this daemon gives events no cursors')
  if (message.topic !== '') return { kind: 'event', cursor, envelope: envelopeFromProto(message) }
  if (!gap) return { kind: 'place', cursor }
  return { kind: 'gap', cursor, ...(gap.lost !== undefined && { lost: Number(gap.lost) }) }
}
