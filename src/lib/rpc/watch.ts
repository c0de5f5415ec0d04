import type { CodedError } from '#lib/errors/errors.ts'

import type { CallOptions } from './rpc.ts'
import { timedOut, toAbortReason } from './status.ts'

const longestTimer = 2 ** 31 - 1
const nothing: Disposable = { [Symbol.dispose]: () => {} }

/** Runs `stop` once if the call is aborted or its time is over; dispose it when the call ends. */
export function watch(options: CallOptions, stop: (reason: CodedError) => void): Disposable {
  const { signal, timeoutMs } = options
  if (!signal && timeoutMs === undefined) return nothing
  const onAbort = (): void => stop(toAbortReason(signal?.reason))
  signal?.addEventListener('abort', onAbort, { once: true })
  const timer =
    timeoutMs !== undefined && timeoutMs <= longestTimer
      ? setTimeout(() => stop(timedOut()), timeoutMs)
      : undefined
  return {
    [Symbol.dispose]: () => {
      signal?.removeEventListener('abort', onAbort)
      clearTimeout(timer)
    },
  }
}
