import type { MessageInitShape } from '@bufbuild/protobuf'

import type { Envelope } from '#core/events/events.ts'
import type { Envelope as EnvelopeMessage, EnvelopeSchema } from '#gen/types/event_pb.ts'

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
