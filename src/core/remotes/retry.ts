import { setTimeout as sleep } from 'node:timers/promises'

import type { IncomingHttpHeaders } from 'node:http'

export interface RetryOptions {
  /** How often a request is sent at most. Source: upstream `maxAttempts`. */
  readonly attempts: number
  /** Before the second attempt; twice as long before each that follows. */
  readonly firstWaitMs: number
  /** Nobody waits longer, however much a host asks for: that is an error then, which says so. */
  readonly longestWaitMs: number
}

export const defaultRetry: RetryOptions = {
  attempts: 5,
  firstWaitMs: 100,
  longestWaitMs: 30_000,
}

/** Whether a host asks to come again (any host), or has trouble that may pass (worth it when there is no other). */
export function isWorthRetrying(status: number, isLastHost: boolean): boolean {
  if (status === 408 || status === 429) return true
  return isLastHost && [500, 502, 503, 504].includes(status)
}

/** How long to wait before attempt `attempt` (from 1); undefined when that is longer than anybody waits. */
export function waitBefore(
  attempt: number,
  headers: IncomingHttpHeaders,
  { firstWaitMs, longestWaitMs }: RetryOptions,
): number | undefined {
  const asked = retryAfterMs(headers['retry-after'])
  if (asked !== undefined) return asked <= longestWaitMs ? asked : undefined
  const wait = Math.min(firstWaitMs * 2 ** (attempt - 1), longestWaitMs)
  // Not all at once, when many were turned away together.
  return wait * (0.5 + Math.random() / 2)
}

/** `Retry-After` in milliseconds: seconds, or a date. Source: RFC 9110, 10.2.3. */
export function retryAfterMs(value: string | undefined, now = Date.now()): number | undefined {
  if (value === undefined) return undefined
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000
  const date = Date.parse(value)
  return Number.isNaN(date) ? undefined : Math.max(0, date - now)
}

/** Waits, or throws what ends `signal`. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms > 0) await sleep(ms, undefined, { signal })
  signal.throwIfAborted()
}
