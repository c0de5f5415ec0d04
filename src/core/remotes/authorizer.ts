import { type Context, forCleanup } from '#core/context.ts'
import { raceAbort } from '#lib/async/mutex.ts'
import { codeOf, describe, unavailable } from '#lib/errors/errors.ts'

import { type Challenge, parseChallenges } from './challenge.ts'
import type { Redactor } from './redact.ts'
import type { CredentialSource, Credentials } from './remotes.ts'
import { mergeScopes } from './scope.ts'
import { basic, checkedRealm, fetchToken, type Token, type TokenRequest } from './token.ts'
import type { Transport } from './transport.ts'

export interface AuthorizerOptions {
  readonly transport: Transport
  readonly credentials: CredentialSource
  readonly redactor: Redactor
  readonly userAgent: string
  /** For getting one token. */
  readonly timeoutMs: number
}

/**
 * Knows what one host wants to see, and gets it: learns from the host's 401, keeps tokens until they
 * expire, one per set of scopes; those who need the same at the same time share one request.
 *
 * Everything is bound to the origin that the first challenge came from: scheme, host and port.
 * Source: upstream `core/remotes/docker/authorizer.go`.
 */
export class Authorizer {
  readonly #options: AuthorizerOptions
  readonly #tokens = new Map<string, Entry>()
  #challenge: Challenge | undefined
  #credentials: Promise<Credentials | undefined> | undefined

  constructor(options: AuthorizerOptions) {
    this.#options = options
  }

  /** Whether there are credentials for this host, as far as it has asked for some. */
  hasCredentials = false

  /** The value of `Authorization` for a request to `url`; undefined before the host has asked for one. */
  async authorize(ctx: Context, url: URL, scopes: readonly string[]): Promise<string | undefined> {
    const challenge = this.#challenge
    if (challenge === undefined) return undefined
    const credentials = await this.#find(ctx, url.host)
    if (credentials?.kind === 'header') return credentials.value
    if (challenge.scheme === 'basic') {
      return credentials?.kind === 'password' ? basic(credentials) : undefined
    }
    return `Bearer ${(await this.#token(ctx, url, challenge, scopes)).value}`
  }

  /**
   * Considers a 401 from `url`. @param sent what the refused request had in `Authorization`.
   *
   * @returns whether the request is worth sending again.
   */
  async challenged(
    ctx: Context,
    url: URL,
    values: readonly string[],
    sent: string | undefined,
  ): Promise<boolean> {
    // Bearer before basic, as upstream: tokens are narrower than passwords.
    const challenges = parseChallenges(values)
    const challenge =
      challenges.find(({ scheme }) => scheme === 'bearer') ??
      challenges.find(({ scheme }) => scheme === 'basic')
    if (challenge === undefined) return false
    // Before anybody is asked for credentials.
    if (challenge.scheme === 'bearer') checkedRealm({ challenge, registry: url })
    this.#challenge = challenge
    this.#forget(sent)
    if (challenge.scheme === 'bearer') return true
    const credentials = await this.#find(ctx, url.host)
    return credentials !== undefined && credentials.kind !== 'refresh'
  }

  async #find(ctx: Context, host: string): Promise<Credentials | undefined> {
    const asked = (this.#credentials ??= this.#ask(ctx, host))
    try {
      return await asked
    } catch (err) {
      if (this.#credentials === asked) this.#credentials = undefined
      throw err
    }
  }

  async #ask(ctx: Context, host: string): Promise<Credentials | undefined> {
    const { credentials: source, redactor } = this.#options
    const credentials = await Promise.try(source, ctx, host).catch((err: unknown) => {
      if (codeOf(err) !== undefined || ctx.signal.aborted) throw err
      const why = redactor.redact(describe(err))
      throw unavailable(`cannot look up the credentials for ${host}: ${why}`, { cause: err })
    })
    this.hasCredentials = credentials !== undefined
    if (credentials?.kind === 'password') {
      redactor.keep(credentials.secret)
      redactor.keep(basic(credentials).slice('Basic '.length))
    }
    if (credentials?.kind === 'refresh') redactor.keep(credentials.token)
    if (credentials?.kind === 'header') redactor.keep(credentials.value.replace(/^\S+\s+/, ''))
    return credentials
  }

  async #token(
    ctx: Context,
    url: URL,
    challenge: Challenge,
    wanted: readonly string[],
  ): Promise<Token> {
    const { realm = '', service = '', scope = '' } = challenge.parameters
    const scopes = mergeScopes([
      ...wanted,
      ...scope.split(' ').filter((each) => fits(each, wanted)),
    ])
    const key = JSON.stringify([realm, service, ...scopes])
    const known = this.#tokens.get(key)
    const isFresh = known !== undefined && known.expiresAt > Date.now()
    const entry = isFresh ? known : this.#fetch(ctx, key, { challenge, registry: url, scopes })
    return await raceAbort(entry.token, ctx.signal)
  }

  /** One request per key, however many wait: it does not end with the one who happened to be first. */
  #fetch(ctx: Context, key: string, what: Wanted): Entry {
    const { transport, redactor, userAgent, timeoutMs } = this.#options
    const own = forCleanup(ctx, timeoutMs)
    const token = this.#find(own, what.registry.host).then(
      async (credentials) =>
        await fetchToken(transport, { ...what, credentials, userAgent }, redactor, own.signal),
    )
    const entry: Entry = { token, value: '', expiresAt: Infinity }
    token.then(
      ({ value, expiresAt }) => Object.assign(entry, { value, expiresAt }),
      () => this.#drop(key, entry),
    )
    this.#tokens.set(key, entry)
    const [oldest] = this.#tokens.keys()
    if (this.#tokens.size > mostTokens && oldest !== undefined) this.#tokens.delete(oldest)
    return entry
  }

  #drop(key: string, entry: Entry): void {
    if (this.#tokens.get(key) === entry) this.#tokens.delete(key)
    // Somebody may have logged in since.
    this.#credentials = undefined
  }

  /** Forgets the token that was refused. */
  #forget(sent: string | undefined): void {
    if (sent === undefined) return
    for (const [key, entry] of this.#tokens) {
      if (sent === `Bearer ${entry.value}`) this.#drop(key, entry)
    }
  }
}

/**
 * Whether a scope that the host named once is needed beside `wanted`: it is no repository's, or it is
 * the host's own name for one of those, as that of a mirror that keeps them below a path of its own.
 */
function fits(scope: string, wanted: readonly string[]): boolean {
  if (scope === '') return false
  const [, name] = /^repository:(.+):[^:]*$/.exec(scope) ?? []
  if (name === undefined || wanted.length === 0) return true
  const names = wanted.map((each) => each.split(':')[1] ?? '')
  return names.some((each) => `/${name}`.endsWith(`/${each}`))
}

type Wanted = Pick<TokenRequest, 'challenge' | 'registry' | 'scopes'>

interface Entry {
  readonly token: Promise<Token>
  /** Empty while it is on its way. */
  readonly value: string
  readonly expiresAt: number
}

const mostTokens = 256
