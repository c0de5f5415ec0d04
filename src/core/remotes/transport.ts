import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls'

import { Agent, buildConnector, type Dispatcher, ProxyAgent } from 'undici'

import { describe, invalidArgument } from '#lib/errors/errors.ts'
import { hasErrno } from '#lib/fs/has-errno.ts'

import type { TlsProfile } from './profile.ts'
import { type Environment, proxyFor } from './proxy.ts'

export interface Timeouts {
  /** From a request to the head of its answer. Source: upstream `DefaultHTTPTransport`. */
  readonly headersMs: number
  /** Between two pieces of a body, while somebody reads. */
  readonly idleMs: number
  /** For a whole small document: a manifest, a token, an index. */
  readonly documentMs: number
}

export const defaultTimeouts: Timeouts = { headersMs: 30_000, idleMs: 60_000, documentMs: 120_000 }

export interface TransportOptions {
  readonly tls: TlsProfile
  readonly dialTimeoutMs: number
  readonly timeouts: Timeouts
  /** Where the proxies are named. */
  readonly env: Environment
}

/** More than any registry's answer has; a flood of headers ends there. */
const maxHeaderSize = 64 * 1024
const keepAliveMs = 30_000
/** To one host at once. */
const maxConnections = 64

/**
 * Connections with the same TLS settings: kept open, through a proxy where there is one.
 *
 * HTTP/1.1 only: the parts of a large layer then come over connections of their own, which is what
 * makes fetching them side by side worthwhile.
 */
export class Transport implements AsyncDisposable {
  readonly #options: TransportOptions
  #tls: TlsOptions | undefined
  #connectSecure: buildConnector.connector | undefined
  /** By the URL of the proxy; empty for direct connections. */
  readonly #agents = new Map<string, Dispatcher>()
  /** What a peer last said in TLS before it ended the connection: undici only tells of the end. */
  #alert: Error | undefined

  constructor(options: TransportOptions) {
    this.#options = options
  }

  /** Sends one request; redirects are not followed. Failures are those of the socket and of undici. */
  async request(
    url: URL,
    options: Omit<Dispatcher.RequestOptions, 'origin' | 'path'>,
  ): Promise<Dispatcher.ResponseData> {
    const path = `${url.pathname}${url.search}`
    try {
      // Undici would end the connection of every HEAD, in case a body comes that should not.
      const request = { ...options, origin: url.origin, path, reset: false }
      return await this.#agentFor(url).request(request)
    } catch (err) {
      const alert = this.#alert
      this.#alert = undefined
      throw hasErrno(err, 'UND_ERR_SOCKET') && alert !== undefined ? alert : err
    }
  }

  /** How `url` is reached, for messages: ` through the proxy p.example:3128`, or nothing. */
  via(url: URL): string {
    const proxy = URL.parse(proxyFor(url, this.#options.env) ?? '')
    return proxy === null ? '' : ` through the proxy ${proxy.host}`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#agents.values()].map(async (agent) => await agent.destroy()))
    this.#agents.clear()
  }

  #agentFor(url: URL): Dispatcher {
    const proxy = proxyFor(url, this.#options.env) ?? ''
    return this.#agents.getOrInsertComputed(proxy, () => this.#open(proxy))
  }

  #open(proxy: string): Dispatcher {
    const { dialTimeoutMs, timeouts } = this.#options
    const common = {
      allowH2: false,
      connections: maxConnections,
      keepAliveTimeout: keepAliveMs,
      headersTimeout: timeouts.headersMs,
      bodyTimeout: timeouts.idleMs,
      maxHeaderSize,
    }
    if (proxy === '') return new Agent({ ...common, connect: this.#connector(dialTimeoutMs) })
    return new ProxyAgent({
      ...common,
      uri: proxy,
      connectTimeout: dialTimeoutMs,
      requestTls: this.#tlsOptions(),
      proxyTunnel: false,
    })
  }

  #tlsOptions(): TlsOptions {
    return (this.#tls ??= tlsOptions(this.#options.tls))
  }

  #connector(timeout: number): buildConnector.connector {
    const common = { timeout, allowH2: false }
    const plain = buildConnector(common)
    return (options, callback) => {
      if (options.protocol !== 'https:') return plain(options, callback)
      return this.#secure(common)(options, (...result) => {
        const [, socket] = result
        socket?.prependListener('error', (err: Error) => {
          if (isAlert(err)) this.#alert = err
        })
        callback(...result)
      })
    }
  }

  #secure(common: buildConnector.BuildOptions): buildConnector.connector {
    return (this.#connectSecure ??= buildConnector({ ...this.#tlsOptions(), ...common }))
  }
}

const isAlert = (err: Error): boolean => 'code' in err && String(err.code).startsWith('ERR_SSL_')

/** In Node's words. */
interface TlsOptions {
  readonly secureContext: SecureContext
  readonly rejectUnauthorized: boolean
}

/** Made when it is needed: reading what a machine trusts takes longer than a handshake. */
function tlsOptions(profile: TlsProfile): TlsOptions {
  const isUsual = profile.ca.length === 0 && profile.client.length === 0
  const secureContext = isUsual ? (usual ??= contextOf(profile)) : contextOf(profile)
  return { secureContext, rejectUnauthorized: !profile.skipVerify }
}

/** That of hosts for which nothing is configured, for all of this process. */
let usual: SecureContext | undefined

function contextOf({ ca, client }: TlsProfile): SecureContext {
  const cert = client.map((pair) => pair.cert)
  const key = client.map((pair) => pair.key)
  try {
    return createSecureContext({
      ca: [...trusted(), ...ca],
      ...(client.length > 0 && { cert, key }),
    })
  } catch (err) {
    // OpenSSL's words name the fault, and nothing of the key.
    throw invalidArgument(`certificates cannot be used: ${describe(err)}`, { cause: err })
  }
}

let systemStore: readonly string[] | undefined

/** What this machine trusts, as Go sees it; what Node brings along where it has no certificates at all. */
function trusted(): readonly string[] {
  if (systemStore === undefined) {
    const system = getCACertificates('system')
    systemStore = [...new Set(system.length > 0 ? system : getCACertificates('bundled'))]
  }
  return systemStore
}
