import type { MessageInitShape } from '@bufbuild/protobuf'
import { timestampDate, timestampFromDate } from '@bufbuild/protobuf/wkt'
import type { Timestamp as TimestampMessage, TimestampSchema } from '@bufbuild/protobuf/wkt'

import type { Timestamp } from '#core/events/events.ts'
import { invalidArgument } from '#lib/errors/errors.ts'

/** Go's zero `time.Time`, 1 January of year 1, which its programs send for "never". */
const goZeroSeconds = -62_135_596_800n

/** A date, in milliseconds, as it travels. */
export const dateToProto = (date: Date): MessageInitShape<typeof TimestampSchema> =>
  timestampFromDate(date)

/**
 * The date in a message; the epoch when there is none, as Go reads it.
 *
 * @throws `invalid_argument` for one that no `Date` can be.
 */
export function dateFromProto(timestamp: TimestampMessage | undefined): Date {
  if (!timestamp) return new Date(0)
  const date = timestampDate(timestamp)
  if (!Number.isNaN(date.getTime())) return date
  throw invalidArgument(`timestamp of ${timestamp.seconds} seconds is out of range`)
}

/** A nanosecond time as it travels; "never" is Go's zero time. */
export const timestampToProto = (
  timestamp: Timestamp | undefined,
): MessageInitShape<typeof TimestampSchema> =>
  timestamp
    ? { seconds: timestamp.seconds, nanos: timestamp.nanos }
    : { seconds: goZeroSeconds, nanos: 0 }

/** The nanosecond time in a message, unless it is missing or Go's zero time. */
export const timestampFromProto = (
  timestamp: TimestampMessage | undefined,
): Timestamp | undefined =>
  timestamp && timestamp.seconds !== goZeroSeconds
    ? { seconds: timestamp.seconds, nanos: timestamp.nanos }
    : undefined

/** The time of `date`, in nanoseconds. */
export function timestampOf(date: Date): Timestamp {
  const { seconds, nanos } = timestampFromDate(date)
  return { seconds, nanos }
}
