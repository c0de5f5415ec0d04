import type { Any } from '#core/any/any.ts'
import type { Context } from '#core/context.ts'
import type { Timestamp } from '#core/events/events.ts'
import type { Status } from '#core/runtime/runtime.ts'
import { Status as WireStatus } from '#gen/types/task_pb.ts'
import { epochNanoseconds } from '#lib/go/now.ts'
import type { CallOptions } from '#lib/rpc/rpc.ts'

/** The words of a task's status for what shims send. */
export function toStatus(status: number): Status {
  return statuses.get(status) ?? 'unknown'
}

const statuses: ReadonlyMap<number, Status> = new Map([
  [WireStatus.CREATED, 'created'],
  [WireStatus.RUNNING, 'running'],
  [WireStatus.STOPPED, 'stopped'],
  [WireStatus.PAUSED, 'paused'],
  [WireStatus.PAUSING, 'pausing'],
])

/** A timestamp without what its message has beyond it. */
export const toTimestamp = (from: Timestamp | undefined): Timestamp | undefined =>
  from && { seconds: from.seconds, nanos: from.nanos }

/** An `Any` without what its message has beyond it. */
export const toAny = ({ typeUrl, value }: Any): Any => ({ typeUrl, value })

/** Options of a call to a shim that make its work part of `ctx`'s trace. */
export const partOf = ({ trace }: Pick<Context, 'trace'>): Pick<CallOptions, 'metadata'> =>
  trace ? { metadata: trace.headers } : {}

/** The present, as it travels. */
export function now(): Timestamp {
  const nanos = epochNanoseconds()
  return { seconds: nanos / 1_000_000_000n, nanos: Number(nanos % 1_000_000_000n) }
}
