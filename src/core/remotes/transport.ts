import { getCACertificates } from 'node:tls'

import { Agent, type Dispatcher, ProxyAgent } from 'undici'

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
  readonly #tls: TlsOptions
  /** By the URL of the proxy; empty for direct connections. */
  readonly #agents = new Map<string, Dispatcher>()

  constructor(options: TransportOptions) {
    this.#options = options
    this.#tls = tlsOptions(options.tls)
  }

  /** Sends one request; redirects are not followed. Failures are those of the socket and of undici. */
  async request(
    url: URL,
    options: Omit<Dispatcher.RequestOptions, 'origin' | 'path'>,
  ): Promise<Dispatcher.ResponseData> {
    return await this.#agentFor(url).request({
      ...options,
      origin: url.origin,
      path: `${url.pathname}${url.search}`,
    })
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
    if (proxy === '')
      return new Agent({ ...common, connect: { ...this.#tls, timeout: dialTimeoutMs } })
    return new ProxyAgent({
      ...common,
      uri: proxy,
      connectTimeout: dialTimeoutMs,
      requestTls: this.#tls,
      proxyTunnel: false,
    })
  }
}

/** In Node's words. */
interface TlsOptions {
  readonly ca: string[]
  readonly rejectUnauthorized: boolean
  readonly cert?: string[]
  readonly key?: string[]
}

function tlsOptions({ ca, client, skipVerify }: TlsProfile): TlsOptions {
  return {
    ca: [...trusted(), ...ca],
    rejectUnauthorized: !skipVerify,
    ...(client.length > 0 && {
      cert: client.map(({ cert }) => cert),
      key: client.map(({ key }) => key),
    }),
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
