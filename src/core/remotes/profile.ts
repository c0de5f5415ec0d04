/** What a host may be asked for. `resolve`: what a name means; `pull`: content by its digest. */
export type Capability = 'pull' | 'resolve' | 'push' | 'referrers'

export const allCapabilities: readonly Capability[] = ['pull', 'resolve', 'push', 'referrers']

/** How TLS is spoken with a host. Texts are PEM. */
export interface TlsProfile {
  /** Trusted besides the system's. */
  readonly ca: readonly string[]
  readonly client: readonly { readonly cert: string; readonly key: string }[]
  /** Take any certificate. */
  readonly skipVerify: boolean
}

/** One host of a registry. Plain data: it can be sent to a worker. */
export interface HostProfile {
  readonly scheme: 'http' | 'https'
  /** With its port, if one was given. */
  readonly host: string
  /** Before the name of a repository: `/v2`. */
  readonly path: string
  readonly capabilities: readonly Capability[]
  readonly tls: TlsProfile
  /** Sent with every request to this host, and to no other. */
  readonly header: Readonly<Record<string, readonly string[]>>
  readonly dialTimeoutMs: number
  /** Over to plain HTTP when the peer turns out not to speak TLS. */
  readonly plainFallback: boolean
}

export const noTls: TlsProfile = { ca: [], client: [], skipVerify: false }

export const defaultDialTimeoutMs = 30_000

/** Whether all of `wanted` may be asked of `host`. */
export const canDo = (host: HostProfile, ...wanted: readonly Capability[]): boolean =>
  wanted.every((capability) => host.capabilities.includes(capability))

/** The host behind the name of a registry, when nothing else is configured. */
export const defaultHost = (registry: string): string =>
  registry === 'docker.io' ? 'registry-1.docker.io' : registry

/**
 * Whether `host` stands in for `registry`: it then hears the registry's name as the parameter `ns`.
 * Source: upstream `docs/hosts.md`, "Registry Host Namespace".
 */
export const isProxyFor = (host: HostProfile, registry: string): boolean =>
  host.host !== defaultHost(registry) && host.host !== registry
