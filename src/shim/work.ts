import type { Trace } from '#lib/trace/trace.ts'

/** A call, as far as what it asks for is concerned. */
export interface Work {
  readonly signal: AbortSignal
  /** When the caller stops waiting, in ms since the epoch. */
  readonly deadline?: number | undefined
  readonly trace?: Trace | undefined
}
