import { CodedError, type ErrorCode, codeOf, describe } from '#lib/errors/errors.ts'

/** By status number; see https://grpc.github.io/grpc/core/md_doc_statuscodes.html. */
const codes = [
  'ok',
  'canceled',
  'unknown',
  'invalid_argument',
  'deadline_exceeded',
  'not_found',
  'already_exists',
  'permission_denied',
  'resource_exhausted',
  'failed_precondition',
  'aborted',
  'out_of_range',
  'unimplemented',
  'internal',
  'unavailable',
  'data_loss',
  'unauthenticated',
] as const satisfies readonly (ErrorCode | 'ok')[]

/** How a call ended, as it travels: the same in gRPC trailers and in `google.rpc.Status`. */
export interface Status {
  /** 0 is success. */
  readonly code: number
  readonly message: string
}

/** The status number of an error code. */
export const toStatusCode = (code: ErrorCode): number => codes.indexOf(code)

/** The error code of a status number; one that nobody defined is `unknown`. */
export function fromStatusCode(number: number): ErrorCode {
  const code = codes[number]
  return code === undefined || code === 'ok' ? 'unknown' : code
}

/**
 * What the client is told about `err`.
 *
 * The nearest coded error gives the code. The message is every message down to it: a coded error
 * words its own for the client, so what caused it stays in the log. Anything else is `unknown` with
 * all its messages.
 */
export function toStatus(err: unknown): Status {
  const code = codeOf(err)
  if (code !== undefined) return { code: toStatusCode(code), message: codedMessage(err) }
  return { code: toStatusCode(abortCode(err) ?? 'unknown'), message: text(err) }
}

/** As gRPC's own documents and metrics write it: `OK`, `NotFound`. */
export const statusName = (number: number): string => {
  const code = codes[number] ?? 'unknown'
  if (code === 'ok') return 'OK'
  return code.replaceAll(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase())
}

/** Every status number there is. */
export const statusNumbers: readonly number[] = codes.map((_, number) => number)

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
