import { X509Certificate } from 'node:crypto'

import type { Context } from '#core/context.ts'
import { invalidArgument } from '#lib/errors/errors.ts'

import { readHosts } from './hosts-dir.ts'
import type { HostEntry } from './hosts-toml.ts'
import {
  allCapabilities,
  defaultDialTimeoutMs,
  defaultHost,
  type HostProfile,
  type TlsProfile,
} from './profile.ts'
import { isLoopback } from './reference.ts'
import { readSmallFile } from './small-file.ts'

export interface HostsOptions {
  /** Directories of hosts.toml files and certificates; the first that knows a registry counts. */
  readonly hostsDirs?: readonly string[]
  /** How registries that no file describes are spoken to; https, but for this machine itself, when absent. */
  readonly scheme?: 'http' | 'https'
  /** For hosts whose file says nothing of TLS. */
  readonly tls?: Partial<TlsProfile>
}

/**
 * The hosts of `registry`, in the order in which they are asked.
 *
 * Source: upstream `core/remotes/docker/config/hosts.go`, `ConfigureHosts`.
 * @throws `invalid_argument` for a bad hosts.toml or certificate; system errors when one cannot be read.
 */
export async function hostsOf(
  ctx: Context,
  registry: string,
  options: HostsOptions = {},
): Promise<readonly HostProfile[]> {
  const entries = (await readHosts(ctx, options.hostsDirs ?? [], registry)) ?? [itself]
  return await Promise.all(
    entries.map(async (entry) => await toProfile(ctx, entry, registry, options)),
  )
}

/** The registry, without anything configured. */
const itself: HostEntry = { capabilities: allCapabilities, ca: [], client: [], header: {} }

async function toProfile(
  ctx: Context,
  entry: HostEntry,
  registry: string,
  options: HostsOptions,
): Promise<HostProfile> {
  const address = entry.url ?? addressOf(registry, options)
  const isGuess = entry.url === undefined && isGuessed(registry, options)
  const hasTls = entry.ca.length > 0 || entry.client.length > 0 || entry.skipVerify !== undefined
  // A certificate of this machine that nobody vouches for is taken; one with a CA is checked.
  const tls = await tlsOf(ctx, entry, options.tls ?? {}, isGuess && entry.ca.length === 0)
  // TLS that is configured is tried first, also with a host said to be plain, unless it has http's own port.
  const fallback =
    address.scheme === 'http' &&
    (hasTls || isGuess || options.tls !== undefined) &&
    !address.host.endsWith(':80')
  return {
    scheme: fallback ? 'https' : address.scheme,
    host: address.host,
    path: address.path,
    capabilities: entry.url === undefined ? allCapabilities : entry.capabilities,
    tls,
    header: entry.header,
    dialTimeoutMs: entry.dialTimeoutMs ?? defaultDialTimeoutMs,
    plainFallback: fallback,
  }
}

/** Where a registry is that no file gives a URL for. Plain HTTP is only guessed on this machine. */
function addressOf(registry: string, options: HostsOptions): NonNullable<HostEntry['url']> {
  const host = defaultHost(registry)
  if (registry === 'docker.io') return { scheme: 'https', host, path: '/v2' }
  const port = /:(\d+)$/.exec(host)?.[1] ?? ''
  const isPlain = isGuessed(registry, options)
    ? port !== '' && port !== '443'
    : port === '80' && isLoopback(host)
  return { scheme: options.scheme ?? (isPlain ? 'http' : 'https'), host, path: '/v2' }
}

/** Whether nobody said which scheme it is, and this machine's own are tried one after the other. */
const isGuessed = (registry: string, { scheme }: HostsOptions): boolean =>
  scheme === undefined && isLoopback(registry) && !registry.endsWith(':80')

async function tlsOf(
  ctx: Context,
  entry: HostEntry,
  base: Partial<TlsProfile>,
  takesAny: boolean,
): Promise<TlsProfile> {
  const ca = entry.ca.map(async (path) => checkedCa(await readSmallFile(path, ctx.signal), path))
  const client = entry.client.map(async ({ cert, key }) => {
    const certificate = await readSmallFile(cert, ctx.signal)
    const secret = key === '' ? certificate : await readSmallFile(key, ctx.signal)
    if (secret.includes('PRIVATE KEY-----')) return { cert: certificate, key: secret }
    const where = key === '' ? `"${cert}", and no file beside it has one` : `"${key}"`
    throw invalidArgument(`client certificate: no private key in ${where}`)
  })
  // All at once: whichever fails is heard.
  const [cas, clients] = await Promise.all([Promise.all(ca), Promise.all(client)])
  return {
    ca: [...(base.ca ?? []), ...cas],
    client: [...(base.client ?? []), ...clients],
    skipVerify: entry.skipVerify ?? base.skipVerify ?? takesAny,
  }
}

function checkedCa(pem: string, path: string): string {
  try {
    return new X509Certificate(pem).toString() && pem
  } catch (err) {
    throw invalidArgument(`unable to load CA certificate "${path}"`, { cause: err })
  }
}
