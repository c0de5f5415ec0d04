import { CodedError, type ErrorCode } from '#lib/errors/errors.ts'

import { type Answer, discard } from './exchange.ts'
import { readDocument } from './document.ts'
import type { Redactor } from './redact.ts'

/*
 *   {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown", "detail": …}]}
 *
 * Source: OCI distribution-spec, "Error Codes".
 */

/** What was being done when a registry refused. */
export interface Subject {
  /** `resolve "docker.io/library/alpine:latest"`. */
  readonly stage: string
  readonly action: 'pull' | 'push'
  readonly host: string
  /** Whether credentials for the host were known. */
  readonly hasCredentials: boolean
}

/** What a registry said, for people: without secrets, cut short; empty when it said nothing. */
export interface Said {
  /** The codes of the specification: `NAME_UNKNOWN`. */
  readonly codes: readonly string[]
  readonly text: string
}

const bodyBytes = 64 * 1024
const shownBytes = 512
/** Of what it says: more than is shown, so that a secret at the end of that is seen whole. */
const readWords = 8 * 1024

/** Reads what an answer says of itself. Only the registry's own words count. */
export async function readSaid(answer: Answer, redactor: Redactor): Promise<Said> {
  if (answer.foreign) {
    await discard(answer)
    return { codes: [], text: '' }
  }
  const bytes = await readDocument(answer, bodyBytes, 'error').catch(() => Buffer.alloc(0))
  const text = bytes.toString('utf8')
  const errors = parseErrors(text)
  const words = errors.map(({ code, message }) => [code, message].filter(Boolean).join(': '))
  const said = errors.length > 0 ? words.join('; ') : text.includes('<html') ? '' : text
  return {
    codes: errors.map(({ code }) => code),
    text: printable(redactor.redact(said.slice(0, readWords))),
  }
}

/** On one line, without control characters, at most as long as is readable. */
const printable = (text: string): string => {
  const line = text.replaceAll(/[\p{Cc}\p{Cf}\s]+/gu, ' ').trim()
  return line.length > shownBytes ? `${line.slice(0, shownBytes)} …` : line
}

function parseErrors(text: string): readonly { code: string; message: string }[] {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return []
  }
  if (!isObject(value)) return []
  const { errors } = value
  // Token servers use the words of RFC 6749, 5.2, or only a message.
  const items: readonly unknown[] = Array.isArray(errors) ? errors.slice(0, 8) : [value]
  return items.filter(isObject).map((item) => ({
    code: word(item['code'] ?? item['error']),
    message: word(item['message'] ?? item['error_description'] ?? item['details']),
  }))
}

const word = (value: unknown): string => (typeof value === 'string' ? value : '')

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** An error for an answer that is not what was asked for. The body is read. */
export async function refusal(
  answer: Answer,
  subject: Subject,
  redactor: Redactor,
): Promise<CodedError> {
  const said = await readSaid(answer, redactor)
  return refusalOf(answer, said, subject)
}

/** As `refusal`, when the body was read before. */
export function refusalOf(answer: Answer, said: Said, subject: Subject): CodedError {
  const { code, why, todo } = meaningOf(answer, said, subject)
  const words =
    said.text === '' ? `status ${answer.status}` : `status ${answer.status}, ${said.text}`
  const who = answer.url.host
  const redirected = answer.foreign ? `, to which ${subject.host} redirects,` : ''
  const message = `${subject.stage}: ${why}: host ${who}${redirected} said: ${words}; ${todo}`
  return new CodedError(code, message + clocks(answer))
}

const mostSkewMs = 5 * 60 * 1000

/** What the clocks say, where somebody is not let in and they differ: signatures and tokens have their time. */
function clocks({ status, headers }: Answer, now = Date.now()): string {
  const theirs = Date.parse(headers.date ?? '')
  const isSkewed = Math.abs(theirs - now) > mostSkewMs
  if (!isSkewed || (status !== 401 && status !== 403)) return ''
  const [its, own] = [theirs, now].map((time) => new Date(time).toISOString())
  return `; its clock says ${its}, this machine's ${own}: set the one that is wrong`
}

interface Meaning {
  readonly code: ErrorCode
  readonly why: string
  readonly todo: string
}

function meaningOf(answer: Answer, said: Said, subject: Subject): Meaning {
  const { status, headers } = answer
  if (answer.foreign && (status === 401 || status === 403)) return notSigned
  const challenge = headers['www-authenticate'] ?? ''
  if (status === 401 && /error="?invalid_token/.test(challenge)) return badToken
  if (subject.hasCredentials && /error="?insufficient_scope/.test(challenge)) return denied(subject)
  if (status === 401) return unauthorized(subject)
  if (status === 403 || said.codes.includes('DENIED')) return denied(subject)
  if (status === 404) {
    return { code: 'not_found', why: 'not found', todo: 'check the spelling of repository and tag' }
  }
  if (status === 416) {
    return { code: 'out_of_range', why: 'no such range', todo: 'begin before the end of the blob' }
  }
  if (status === 429 || said.codes.includes('TOOMANYREQUESTS')) {
    const after = headers['retry-after']
    const when = after === undefined ? 'later' : `when it says (Retry-After: ${printable(after)})`
    const login = subject.hasCredentials ? '' : ', or log in, which often raises the limit'
    return {
      code: 'resource_exhausted',
      why: 'rate limit reached',
      todo: `try again ${when}${login}`,
    }
  }
  if (status === 413) return tooLarge
  if (status === 405) return subject.action === 'push' ? readOnly : notServed
  if (said.codes.includes('MANIFEST_BLOB_UNKNOWN')) return incomplete
  if (said.codes.includes('DIGEST_INVALID')) return damaged
  if (status >= 500) {
    return {
      code: 'unavailable',
      why: 'the registry has a problem of its own',
      todo: 'try again later',
    }
  }
  const todo = 'check that the host is a registry, and its path in hosts.toml'
  return { code: 'unknown', why: 'unexpected answer', todo }
}

const notSigned: Meaning = {
  code: 'permission_denied',
  why: 'the storage behind the registry refuses',
  todo: "try again, and check this machine's clock: what the registry signs is good for some minutes",
}
/** A token that has just been given: one that has expired is renewed before anybody hears of it. */
const badToken: Meaning = {
  code: 'unauthenticated',
  why: 'the registry does not take the token that its own token server has given',
  todo: 'have whoever runs them compare their clocks and keys',
}
const tooLarge: Meaning = {
  code: 'resource_exhausted',
  why: 'it is larger than what is taken there',
  todo: 'raise the limit of the registry, or of the proxy before it (nginx: client_max_body_size)',
}
const readOnly: Meaning = {
  code: 'failed_precondition',
  why: 'nothing can be pushed there',
  todo: 'push to the registry itself: mirrors, and registries under maintenance, are only read',
}
const notServed: Meaning = {
  code: 'failed_precondition',
  why: 'nothing can be pulled there',
  todo: 'check that the host is a registry, its path in hosts.toml, and that no proxy before it refuses GET and HEAD',
}
/** Source: upstream `PushContent`, which looks for this in an index. */
const incomplete: Meaning = {
  code: 'failed_precondition',
  why: 'it refers to manifests or layers that the registry does not have',
  todo: 'push all platforms of the image, or the manifest of one by its digest',
}
const damaged: Meaning = {
  code: 'data_loss',
  why: 'what arrived is not what its digest says',
  todo: 'remove the image and pull or import it again; if it stays, something on the way changes it',
}

const unauthorized = ({ action, hasCredentials, host }: Subject): Meaning =>
  hasCredentials
    ? {
        code: 'unauthenticated',
        why: `${action} access denied, the credentials for ${host} were not accepted`,
        todo: 'log in again, and check that they are for this registry and may be used for this repository',
      }
    : {
        code: 'unauthenticated',
        why: `${action} access denied, repository does not exist or may require authorization`,
        todo: `check the spelling of the name, or give credentials for ${host}: none were`,
      }

const denied = ({ action, hasCredentials, host }: Subject): Meaning => ({
  code: 'permission_denied',
  why: `${action} access denied`,
  todo: hasCredentials
    ? `check that the account may ${action} in this repository`
    : `check the spelling of the name, or give credentials for ${host}: none were`,
})
