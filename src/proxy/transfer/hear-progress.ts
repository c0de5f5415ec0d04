import type { Context } from '#core/context.ts'
import type { Stream } from '#core/streaming/streaming.ts'
import type { ReportProgress } from '#core/transfer/transfer.ts'
import { ProgressSchema } from '#gen/types/transfer/progress_pb.ts'
import { holds, unpack } from '#proxy/convert/pack.ts'
import { progressFromProto } from '#proxy/convert/transfer.ts'

/**
 * Passes on what a daemon tells over a stream, until it ends or breaks. @param fail hears what
 * `report` throws.
 */
export async function hearProgress(
  ctx: Context,
  stream: Stream,
  report: ReportProgress,
  fail: (err: unknown) => void,
): Promise<void> {
  for (;;) {
    const message = await stream.receive(ctx).catch(() => undefined)
    if (!message) return
    if (!holds(message, ProgressSchema)) continue
    try {
      report(progressFromProto(unpack(ProgressSchema, message)))
    } catch (err) {
      fail(err)
      return
    }
  }
}
