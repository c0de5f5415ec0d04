import { setTimeout as sleep } from 'node:timers/promises'

import type { Followed, From } from '#core/events/events.ts'
import { hasCode } from '#lib/errors/errors.ts'

import { type ConnectOptions, connect } from './connect.ts'

/** How long to wait before the daemon is tried again, in ms: from the first to the longest. */
const [firstWaitMs, longestWaitMs] = [100, 3000]

/** What to follow, and from where on. */
export interface FollowOptions extends Omit<ConnectOptions, 'signal'> {
  /** Behind a cursor, `oldest`, or `now` unless given. */
  readonly from?: From
  /** Any of them; all events when there is none. */
  readonly filters?: readonly string[]
  readonly signal: AbortSignal
}

/**
 * Events of the daemon at `address`, also of the one that serves there next: whenever the connection is
 * lost it is made again, behind the last cursor. Nothing comes twice, and what is missing is a gap.
 * Ends with the signal. A store of cursors makes it outlive its caller, too:
 *
 *     for await (const next of followEvents(address, { from: { after: stored }, signal })) {
 *       if (next.kind === 'event') await handle(next.envelope)
 *       if (next.kind === 'gap') await lookAtEverythingAgain()
 *       await store(next.cursor)
 *     }
 *
 * @throws `unavailable` when nobody answers at first; what the daemon says of filters and cursor.
 */
export async function* followEvents(
  address: string,
  { from = 'now', filters = [], signal, ...options }: FollowOptions,
): AsyncGenerator<Followed, void, undefined> {
  let [place, waitMs, begun] = [from, firstWaitMs, false]
  while (!signal.aborted) {
    try {
      await using client = await connect(address, { ...options, signal })
      for await (const next of client.follow(place, filters, { signal })) {
        const resumed = begun && next.kind === 'place' && next.cursor === fromCursor(place)
        ;[place, waitMs, begun] = [{ after: next.cursor }, firstWaitMs, true]
        if (!resumed) yield next
      }
    } catch (err) {
      if (signal.aborted) return
      if (!begun || !hasCode(err, 'unavailable')) throw err
    }
    if (!(await slept(waitMs, signal))) return
    waitMs = Math.min(waitMs * 2, longestWaitMs)
  }
}

const fromCursor = (from: From): string => (typeof from === 'string' ? from : from.after)

async function slept(ms: number, signal: AbortSignal): Promise<boolean> {
  try {
    return await sleep(ms, true, { signal })
  } catch {
    return false
  }
}
