import { CodedError, failedPrecondition, unauthenticated, unavailable } from '#lib/errors/errors.ts'

import type { Challenge } from './challenge.ts'
import { parseDocument, readDocument } from './document.ts'
import { type Answer, discard, exchange, type Outgoing } from './exchange.ts'
import type { Redactor } from './redact.ts'
import { type Subject, refusal } from './refusal.ts'
import { isLoopback } from './reference.ts'
import type { Credentials } from './remotes.ts'
import type { Transport } from './transport.ts'

/*
 * Tokens come from the realm that a challenge names:
 *
 *   without credentials   GET  <realm>?service=…&scope=…
 *   with them             POST <realm>   grant_type=password | refresh_token     (OAuth 2)
 *                         GET  <realm>?… Authorization: Basic …                  where POST is not known
 *
 * Source: https://distribution.github.io/distribution/spec/auth/token/ and …/oauth/;
 * upstream `core/remotes/docker/auth/fetch.go`.
 */

export interface Token {
  readonly value: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

export interface TokenRequest {
  readonly challenge: Challenge
  /** The host that sent the challenge. */
  readonly registry: URL
  readonly scopes: readonly string[]
  readonly credentials: Credentials | undefined
  readonly userAgent: string
}

const tokenBytes = 1024 * 1024
const clientId = 'wharf'
/** Of a token that does not say. Source: the specification, "Token Response Fields". */
const defaultSeconds = 60
const longestSeconds = 24 * 3600

/** Gets a token. @throws `unauthenticated` when it is not given, `failed_precondition` for a realm not to be trusted. */
export async function fetchToken(
  transport: Transport,
  request: TokenRequest,
  redactor: Redactor,
  signal: AbortSignal,
): Promise<Token> {
  const realm = checkedRealm(request)
  const answer = await ask(transport, realm, request, signal)
  const stage = `get a token from ${realm.host}`
  if (answer.status < 200 || answer.status > 299)
    throw await refused(answer, stage, request, redactor)
  const bytes = await readDocument(answer, tokenBytes, `token from ${realm.host}`)
  const document = parseDocument(bytes, `token from ${realm.host}`)
  const value = document['access_token'] ?? document['token']
  // A token becomes part of a header: nothing but what RFC 6750 has in it.
  if (typeof value !== 'string' || !/^[\x21-\x7e]+$/.test(value)) {
    throw unauthenticated(`${stage}: its answer has no token`)
  }
  redactor.keep(value)
  return { value, expiresAt: Date.now() + lifeOf(document) * 1000 }
}

function lifeOf(document: Readonly<Record<string, unknown>>): number {
  const { expires_in: seconds } = document
  const life = typeof seconds === 'number' && seconds > 0 ? seconds : defaultSeconds
  // A little less, so that it does not expire on its way.
  return Math.min(life, longestSeconds) * 0.9
}

/**
 * The realm may be another host: the registry vouches for it, as it could hand on what it is told
 * itself. It may not be less safe than the registry: no plain HTTP, but between hosts of this machine.
 *
 * @throws `failed_precondition`
 */
export function checkedRealm({
  challenge,
  registry,
}: Pick<TokenRequest, 'challenge' | 'registry'>): URL {
  const text = challenge.parameters['realm'] ?? ''
  const realm = URL.parse(text)
  const refuse = (why: string): Error =>
    failedPrecondition(`host ${registry.host} asks for a token from a realm that ${why}`)
  if (realm === null) throw refuse('is not a URL')
  if (realm.username !== '' || realm.password !== '') throw refuse('holds a user')
  const sameOrigin = realm.origin === registry.origin
  const bothOwn = isLoopback(realm.host) && isLoopback(registry.host)
  const plainIsFine = registry.protocol === 'http:' && (sameOrigin || bothOwn)
  if (realm.protocol !== 'https:' && !(realm.protocol === 'http:' && plainIsFine)) {
    throw refuse('is not https')
  }
  realm.hash = ''
  return realm
}

async function ask(
  transport: Transport,
  realm: URL,
  request: TokenRequest,
  signal: AbortSignal,
): Promise<Answer> {
  const { credentials } = request
  if (credentials === undefined || credentials.kind === 'header') {
    return await exchange(transport, byGet(realm, request), signal)
  }
  const answer = await exchange(transport, byPost(realm, request), signal)
  // Which of them answer so is listed at upstream `doBearerAuth`.
  const knowsNoPost = [400, 401, 404, 405].includes(answer.status) || isRedirect(answer.status)
  if (credentials.kind !== 'password' || !knowsNoPost) return answer
  await discard(answer)
  return await exchange(transport, byGet(realm, request), signal)
}

const isRedirect = (status: number): boolean => status >= 300 && status < 400

function byGet(realm: URL, { challenge, scopes, credentials, userAgent }: TokenRequest): Outgoing {
  const url = new URL(realm)
  const { service } = challenge.parameters
  if (service !== undefined) url.searchParams.append('service', service)
  for (const scope of scopes) url.searchParams.append('scope', scope)
  const own = credentials?.kind === 'password' ? { authorization: basic(credentials) } : {}
  return { method: 'GET', url, headers: { 'user-agent': userAgent }, own }
}

function byPost(realm: URL, request: TokenRequest): Outgoing {
  const { challenge, scopes, credentials, userAgent } = request
  const form = new URLSearchParams({
    service: challenge.parameters['service'] ?? '',
    client_id: clientId,
    ...(scopes.length > 0 && { scope: scopes.join(' ') }),
    ...grantOf(credentials),
  })
  const headers = {
    'user-agent': userAgent,
    'content-type': 'application/x-www-form-urlencoded; charset=utf-8',
  }
  const url = new URL(realm)
  // Sent once and to nobody else: `exchange` has no body to send after a redirect.
  const bytes = Buffer.from(form.toString())
  let sent = false
  const body = (): readonly Uint8Array[] => {
    if (sent) throw unavailable(`${realm.host} redirects a request that holds credentials`)
    sent = true
    return [bytes]
  }
  return { method: 'POST', url, headers, own: {}, body }
}

const grantOf = (credentials: Credentials | undefined): Record<string, string> => {
  if (credentials?.kind === 'refresh') {
    return { grant_type: 'refresh_token', refresh_token: credentials.token }
  }
  return credentials?.kind === 'password'
    ? { grant_type: 'password', username: credentials.username, password: credentials.secret }
    : {}
}

/** The value of `Authorization` for a name and a password. Source: RFC 7617. */
export const basic = ({ username, secret }: Credentials & { kind: 'password' }): string =>
  `Basic ${Buffer.from(`${username}:${secret}`).toString('base64')}`

async function refused(
  answer: Answer,
  stage: string,
  { registry, credentials }: TokenRequest,
  redactor: Redactor,
): Promise<CodedError> {
  const hasCredentials = credentials !== undefined
  const subject: Subject = { stage, action: 'pull', host: registry.host, hasCredentials }
  const error = await refusal(answer, subject, redactor)
  const isRefused = answer.status === 400 || answer.status === 403
  return isRefused ? new CodedError('unauthenticated', error.message) : error
}
