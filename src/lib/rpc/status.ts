import { CodedError, type ErrorCode, codeOf, describe } from '#lib/errors/errors.ts'

const numbers = {
  canceled: 1,
  unknown: 2,
  invalid_argument: 3,
  deadline_exceeded: 4,
  not_found: 5,
  already_exists: 6,
  permission_denied: 7,
  resource_exhausted: 8,
  failed_precondition: 9,
  aborted: 10,
  out_of_range: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  data_loss: 15,
  unauthenticated: 16,
} as const satisfies Record<ErrorCode, number>

const codes: ReadonlyMap<number, ErrorCode> = new Map(
  Object.entries(numbers).map(([code, number]) => [number, code as ErrorCode]),
)

/** How a call ended, as it travels: the same in gRPC trailers and in `google.rpc.Status`. */
export interface Status {
  /** 0 is success; see https://grpc.github.io/grpc/core/md_doc_statuscodes.html. */
  readonly code: number
  readonly message: string
}

/** The status number of an error code. */
export const toStatusCode = (code: ErrorCode): number => numbers[code]

/** The error code of a status number; one that nobody defined is `unknown`. */
export const fromStatusCode = (code: number): ErrorCode => codes.get(code) ?? 'unknown'

/**
 * What the client is told about `err`.
 *
 * The nearest coded error gives the code. The message is every message down to it: a coded error
 * words its own for the client, so what caused it stays in the log. Anything else is `unknown` with
 * all its messages.
 */
export function toStatus(err: unknown): Status {
  const code = codeOf(err)
  if (code === undefined) return { code: numbers[abortCode(err) ?? 'unknown'], message: text(err) }
  return { code: numbers[code], message: codedMessage(err) }
}

/** The error a client throws for a status that is not success; the message is kept verbatim. */
export const fromStatus = (status: Status): CodedError =>
  new CodedError(fromStatusCode(status.code), status.message)

/** Why a call ended early, from the reason of its signal: a coded error in every case. */
export function toAbortReason(reason: unknown): CodedError {
  if (reason instanceof CodedError) return reason
  const code = codeOf(reason) ?? abortCode(reason) ?? 'canceled'
  return code === 'deadline_exceeded' ? timedOut(reason) : canceledCall(reason)
}

/** The reason of a call whose deadline has passed, in Go's words. */
export const timedOut = (cause?: unknown): CodedError =>
  new CodedError('deadline_exceeded', 'context deadline exceeded', { cause })

/** The reason of a call whose client has left or lost interest, in Go's words. */
export const canceledCall = (cause?: unknown): CodedError =>
  new CodedError('canceled', 'context canceled', { cause })

function abortCode(err: unknown): ErrorCode | undefined {
  if (!(err instanceof Error)) return undefined
  if (err.name === 'TimeoutError') return 'deadline_exceeded'
  return err.name === 'AbortError' ? 'canceled' : undefined
}

function text(err: unknown): string {
  if (abortCode(err) === 'deadline_exceeded') return timedOut().message
  return abortCode(err) === 'canceled' ? canceledCall().message : describe(err)
}

function codedMessage(err: unknown): string {
  const parts: string[] = []
  let next = err
  while (next instanceof Error) {
    const error: unknown = next instanceof SuppressedError ? next.suppressed : next
    if (!(error instanceof Error)) break
    if (error.name !== 'AbortError') parts.push(error.message)
    if (error instanceof CodedError) break
    next = error.cause
  }
  return parts.join(': ')
}
