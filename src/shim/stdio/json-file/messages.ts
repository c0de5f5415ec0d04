import type { JsonFileTarget } from '#core/logs/json-file.ts'
import type { ErrorCode } from '#lib/errors/errors.ts'

/** What the host asks of the thread that writes logs. */
export type Request =
  /** Copy what these pipes give until they end, and close them. The thread owns them from here on. */
  | {
      readonly kind: 'open'
      readonly key: number
      readonly target: JsonFileTarget
      readonly fds: Outputs
    }
  /** Do not wait for the end any longer. */
  | { readonly kind: 'close'; readonly key: number }

/** The reading ends of stdout and stderr. */
export type Outputs = readonly [number, number]

/** What the thread says of a log. */
export type Reply =
  | { readonly kind: 'opened'; readonly key: number }
  | {
      readonly kind: 'refused'
      readonly key: number
      readonly code: ErrorCode | undefined
      readonly error: string
    }
  /** Lines could not be written; that is said when it begins, and when it is over. */
  | { readonly kind: 'lost'; readonly key: number; readonly error: string }
  | { readonly kind: 'resumed'; readonly key: number; readonly lines: number }
  | { readonly kind: 'ended'; readonly key: number }
