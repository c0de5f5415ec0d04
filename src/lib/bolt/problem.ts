import type { Range } from './range.ts'

/** What part of a file a problem is in. */
export type ProblemKind = 'file' | 'meta' | 'page' | 'pair' | 'bucket' | 'freelist'

/** One thing that is wrong with a database file. */
export interface Problem {
  readonly kind: ProblemKind
  /** `damage` hides or endangers what was stored; a `warning` wastes room and no more. */
  readonly severity: 'damage' | 'warning'
  /** The page it is in; undefined when it is about the whole file. */
  readonly page?: number
  /** In words, without the page. */
  readonly message: string
  /** What cannot be read because of it. */
  readonly lost?: Range
}
