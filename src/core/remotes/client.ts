import type { Context } from '#core/context.ts'

import { Authorizer } from './authorizer.ts'
import { Endpoint } from './endpoint.ts'
import { fetchByDigest, fetchContent } from './fetch.ts'
import { hostsOf, type HostsOptions } from './hosts.ts'
import type { HostProfile } from './profile.ts'
import type { Environment } from './proxy.ts'
import { push } from './push.ts'
import { Redactor } from './redact.ts'
import { parsePullable } from './reference.ts'
import { referrers } from './referrers.ts'
import type { CredentialSource, Fetcher, Pusher, Remotes, Resolution } from './remotes.ts'
import type { Repository } from './repository.ts'
import { resolve } from './resolve.ts'
import { defaultRetry, type RetryOptions } from './retry.ts'
import { defaultTimeouts, type Timeouts, Transport } from './transport.ts'

export interface RegistryClientOptions extends HostsOptions {
  /** The hosts of some registries, as `profiles` of another client gave them: no file is read for those. */
  readonly profiles?: Readonly<Record<string, readonly HostProfile[]>>
  /** Nobody has credentials when absent. */
  readonly credentials?: CredentialSource
  /** Sent to registries, not to where they redirect to. */
  readonly headers?: Readonly<Record<string, string>>
  readonly userAgent?: string
  /** Where `HTTPS_PROXY` and the like are looked up; this process's own when absent. */
  readonly env?: Environment
  readonly timeouts?: Partial<Timeouts>
  readonly retry?: Partial<RetryOptions>
}

/** Hosts with different settings that are kept connected. */
const mostEndpoints = 64

/**
 * Registries over HTTP, for the credentials of one caller. Connections and tokens are kept until it is
 * disposed; a change of a hosts.toml counts from the next call on.
 */
export class RegistryClient implements Remotes {
  readonly #options: RegistryClientOptions
  readonly #redactor = new Redactor()
  /** By their settings. */
  readonly #open = new Map<string, { readonly endpoint: Endpoint; readonly transport: Transport }>()

  constructor(options: RegistryClientOptions = {}) {
    this.#options = options
  }

  /** `text` without the secrets this client has seen. For what its callers log themselves. */
  redact(text: string): string {
    return this.#redactor.redact(text)
  }

  async resolve(ctx: Context, reference: string): Promise<Resolution> {
    return await resolve(ctx, await this.#repository(ctx, reference))
  }

  async fetcher(ctx: Context, reference: string): Promise<Fetcher> {
    const repository = await this.#repository(ctx, reference)
    return {
      fetch: async (c, target, options) => await fetchContent(c, repository, target, options),
      fetchByDigest: async (c, digest, options) =>
        await fetchByDigest(c, repository, digest, options),
      referrers: async (c, digest, options) => await referrers(c, repository, digest, options),
    }
  }

  async pusher(ctx: Context, reference: string): Promise<Pusher> {
    const repository = await this.#repository(ctx, reference)
    return {
      push: async (c, target, source, options) =>
        await push(c, repository, target, source, options),
    }
  }

  /** Ends every connection; what is being read or sent fails. */
  async [Symbol.asyncDispose](): Promise<void> {
    const open = [...this.#open.values()]
    this.#open.clear()
    await Promise.all(open.map(async ({ transport }) => await transport[Symbol.asyncDispose]()))
  }

  /**
   * Who serves the registry of `reference`: plain data, with the certificates in it, for a client in a
   * worker that fetches a part of an image.
   */
  async profiles(ctx: Context, reference: string): Promise<Record<string, readonly HostProfile[]>> {
    const { host } = parsePullable(reference)
    return { [host]: await this.#profiles(ctx, host) }
  }

  async #profiles(ctx: Context, registry: string): Promise<readonly HostProfile[]> {
    const known = this.#options.profiles ?? {}
    const own = Object.hasOwn(known, registry) ? known[registry] : undefined
    return own ?? (await hostsOf(ctx, registry, this.#options))
  }

  async #repository(ctx: Context, text: string): Promise<Repository> {
    const reference = parsePullable(text)
    const profiles = await this.#profiles(ctx, reference.host)
    const endpoints = profiles.map((profile) => this.#endpoint(profile))
    return { reference, endpoints, timeouts: { ...defaultTimeouts, ...this.#options.timeouts } }
  }

  #endpoint(profile: HostProfile): Endpoint {
    const key = JSON.stringify(profile)
    const known = this.#open.get(key)
    if (known !== undefined) return known.endpoint
    const made = this.#make(profile)
    this.#open.set(key, made)
    const [oldest] = this.#open.keys()
    // Its connections end by themselves when they are idle.
    if (this.#open.size > mostEndpoints && oldest !== undefined) this.#open.delete(oldest)
    return made.endpoint
  }

  #make(profile: HostProfile): { readonly endpoint: Endpoint; readonly transport: Transport } {
    const { userAgent = 'wharf', headers = {}, env = process.env } = this.#options
    const timeouts = { ...defaultTimeouts, ...this.#options.timeouts }
    const redactor = this.#redactor
    const { tls, dialTimeoutMs } = profile
    const transport = new Transport({ tls, dialTimeoutMs, timeouts, env })
    const authorizer = new Authorizer({
      transport,
      credentials: this.#options.credentials ?? (() => undefined),
      redactor,
      userAgent,
      timeoutMs: timeouts.documentMs,
    })
    const retry = { ...defaultRetry, ...this.#options.retry }
    const endpoint = new Endpoint({
      profile,
      transport,
      authorizer,
      redactor,
      retry,
      headers,
      userAgent,
    })
    return { endpoint, transport }
  }
}
