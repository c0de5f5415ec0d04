import type { Context } from '#core/context.ts'

import type { Authorizer } from './authorizer.ts'
import {
  connectionFailure,
  isTransient,
  nameOf,
  speaksNoTls,
  wasCutOff,
  wasNotReached,
} from './connection-failure.ts'
import { type Answer, discard, exchange, type Outgoing } from './exchange.ts'
import type { HostProfile } from './profile.ts'
import type { Redactor } from './redact.ts'
import type { Subject } from './refusal.ts'
import { isWorthRetrying, pause, type RetryOptions, waitBefore } from './retry.ts'
import type { Transport } from './transport.ts'

/** A request to one host of a registry. */
export interface Call {
  readonly method: Outgoing['method']
  /** Below the API's root: `library/alpine/manifests/latest`. Or where the host said to go on. */
  readonly target: string | URL
  readonly query?: readonly (readonly [name: string, value: string])[]
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Outgoing['body']
  /** What a token must be good for. */
  readonly scopes: readonly string[]
  /** Nobody else is asked when this host fails: then it is worth asking again. */
  readonly isLastHost: boolean
  /** What it is for, for messages. */
  readonly stage: string
  readonly action: Subject['action']
}

export interface EndpointOptions {
  readonly profile: HostProfile
  readonly transport: Transport
  readonly authorizer: Authorizer
  readonly redactor: Redactor
  readonly retry: RetryOptions
  readonly headers: Readonly<Record<string, string>>
  readonly userAgent: string
}

/** One host of a registry, as it is spoken to: with its own headers, authorization, and patience. */
export class Endpoint {
  readonly profile: HostProfile
  readonly #options: EndpointOptions
  /** It said it speaks no TLS, and plain HTTP was allowed for. */
  #plain = false

  constructor(options: EndpointOptions) {
    this.#options = options
    this.profile = options.profile
  }

  get redactor(): Redactor {
    return this.#options.redactor
  }

  subject(stage: string, action: Subject['action']): Subject {
    const { hasCredentials } = this.#options.authorizer
    return { stage, action, host: this.profile.host, hasCredentials }
  }

  /**
   * Sends `call`, again where that may help.
   *
   * @returns the answer, whatever its status: its body is the caller's to read or to discard.
   * @throws coded errors for connections that fail, tokens that are not given, redirects that are refused.
   */
  async send(ctx: Context, call: Call): Promise<Answer> {
    let mayAuthorize = true
    for (let attempt = 1; ; attempt++) {
      const isLast = attempt >= this.#options.retry.attempts
      const { url, sent, answer } = await this.#attempt(ctx, call, attempt, isLast)
      if (answer === undefined) continue
      const { status, headers } = answer
      if (status === 401 && mayAuthorize && !answer.foreign && !isLast) {
        mayAuthorize = false
        const values = [headers['www-authenticate'] ?? []].flat()
        if (!(await this.#challenged(ctx, call, url, values, sent))) return answer
        await discard(answer)
        continue
      }
      const wait = isWorthRetrying(status, call.isLastHost)
        ? waitBefore(attempt, headers, this.#options.retry)
        : undefined
      if (wait === undefined || isLast) return answer
      ctx.log.debug('registry asks to try again', { host: url.host, status, wait })
      await discard(answer)
      await pause(wait, ctx.signal)
    }
  }

  /** Sends it once. @returns no answer when it did not get there, and may be sent again. */
  async #attempt(
    ctx: Context,
    call: Call,
    attempt: number,
    isLast: boolean,
  ): Promise<{ url: URL; sent?: string | undefined; answer?: Answer }> {
    const { transport, authorizer, redactor } = this.#options
    const url = this.#urlOf(call)
    try {
      const isOwn = url.origin === this.origin
      const sent = isOwn ? await authorizer.authorize(ctx, url, call.scopes) : undefined
      ctx.log.debug('registry request', { method: call.method, url: redactor.url(url) })
      const answer = await exchange(transport, this.#outgoing(call, url, isOwn, sent), ctx.signal)
      return { url, sent, answer }
    } catch (err) {
      if (this.#mayBePlain(err, url)) {
        this.#plain = true
        return { url }
      }
      // A connection that was kept may be gone, which says nothing of the host.
      const wasIdle = attempt === 1 && call.body === undefined && wasCutOff(err)
      const isWorthIt = wasIdle || (call.isLastHost && isTransient(err))
      if (isLast || !isWorthIt || ctx.signal.aborted) {
        throw this.#failure(err, call, url, ctx.signal)
      }
      ctx.log.debug('registry connection broke', { host: url.host, reason: nameOf(err) })
      await pause(waitBefore(attempt, {}, this.#options.retry) ?? 0, ctx.signal)
      return { url }
    }
  }

  /** Source: upstream `NewHTTPFallback`: no TLS is spoken there, or nobody is at the port of https. */
  #mayBePlain(err: unknown, { protocol }: URL): boolean {
    const { plainFallback, host } = this.profile
    // Another request may have found out while this one was under way.
    if (!plainFallback || protocol === 'http:') return false
    return speaksNoTls(err) || (!/:\d+$/.test(host) && wasNotReached(err))
  }

  async #challenged(
    ctx: Context,
    call: Call,
    url: URL,
    values: readonly string[],
    sent: string | undefined,
  ): Promise<boolean> {
    try {
      return await this.#options.authorizer.challenged(ctx, url, values, sent)
    } catch (err) {
      throw this.#failure(err, call, url, ctx.signal)
    }
  }

  #failure(err: unknown, { stage }: Call, url: URL, signal: AbortSignal): Error {
    const who = `${this.profile.host}${this.#options.transport.via(url)}`
    return connectionFailure(err, stage, who, signal)
  }

  /** Where this host is; credentials go nowhere else. */
  get origin(): string {
    const { scheme, host } = this.profile
    return new URL(`${this.#plain ? 'http' : scheme}://${host}`).origin
  }

  #urlOf({ target, query = [] }: Call): URL {
    const url =
      typeof target === 'string'
        ? new URL(`${this.origin}${this.profile.path}/${target}`)
        : new URL(target)
    for (const [name, value] of query) url.searchParams.append(name, value)
    return url
  }

  #outgoing(call: Call, url: URL, isOwn: boolean, authorization: string | undefined): Outgoing {
    const { headers, userAgent } = this.#options
    return {
      method: call.method,
      url,
      headers: { 'user-agent': userAgent, ...call.headers },
      own: isOwn
        ? { ...headers, ...this.profile.header, ...(authorization && { authorization }) }
        : {},
      body: call.body,
    }
  }
}
