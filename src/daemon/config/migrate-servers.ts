import { Branch, type Leaf } from './tree.ts'

/** URIs of what listens, and of what counts. */
export const servers = {
  grpc: 'io.containerd.server.v1.grpc',
  grpcTcp: 'io.containerd.server.v1.grpc-tcp',
  ttrpc: 'io.containerd.server.v1.ttrpc',
  debug: 'io.containerd.server.v1.debug',
  metrics: 'io.containerd.server.v1.metrics',
  prometheus: 'io.containerd.metrics.v1.grpc-prometheus',
} as const

const sizes = ['max_recv_message_size', 'max_send_message_size']
const tcpKeys: Readonly<Record<string, string>> = {
  tcp_address: 'address',
  tcp_tls_ca: 'tls_ca',
  tcp_tls_cert: 'tls_cert',
  tcp_tls_key: 'tls_key',
  tcp_tls_common_name: 'tls_common_name',
}

/**
 * From version 3 to 4: `[grpc]`, `[ttrpc]`, `[metrics]` and the address in `[debug]` become the
 * sections of server plugins, unless the file has those already. Zero and the empty string say
 * nothing in the old tables.
 *
 * Before version 4 a ttrpc socket without an address is beside the gRPC socket, and owned like it;
 * `ttrpcFollows` says so.
 *
 * Source: upstream `serviceMigrate`.
 */
export function serversToPlugins(tree: Branch, ttrpcFollows: boolean): void {
  const plugins = tree.branch('plugins') ?? new Branch({ ...tree.origin, key: ['plugins'] })
  const { grpc, ttrpc } = legacyServers(tree)
  // Both go by what the old tables say, so ttrpc is first, before any of it is taken.
  const ttrpcSection = sectionOfTtrpc(grpc, ttrpc, ttrpcFollows)
  place(plugins, servers.grpc, pick(grpc, ['address', 'uid', 'gid', ...sizes]))
  if (says(grpc.leaf('tcp_address'))) {
    place(plugins, servers.grpcTcp, [
      ...pick(grpc, Object.keys(tcpKeys)).map(([key, leaf]) => named(tcpKeys[key] ?? key, leaf)),
      ...pick(grpc, sizes),
    ])
  }
  place(plugins, servers.ttrpc, ttrpcSection)
  const debug = tree.branch('debug')
  if (debug && says(debug.leaf('address'))) {
    place(plugins, servers.debug, pick(debug, ['address', 'uid', 'gid']))
  }
  const metrics = tree.branch('metrics')
  if (metrics) {
    place(plugins, servers.metrics, pick(metrics, ['address']))
    place(plugins, servers.prometheus, pick(metrics, ['grpc_histogram']))
  }
  dropLegacy(tree)
  if (plugins.entries.size > 0) tree.set('plugins', plugins)
}

type Entry = readonly [string, Leaf]

const legacyServers = (tree: Branch): { readonly grpc: Branch; readonly ttrpc: Branch } => ({
  grpc: tree.branch('grpc') ?? new Branch({ ...tree.origin, key: ['grpc'] }),
  ttrpc: tree.branch('ttrpc') ?? new Branch({ ...tree.origin, key: ['ttrpc'] }),
})

/** What the ttrpc server is told; what it has from gRPC is marked as derived. */
function sectionOfTtrpc(grpc: Branch, ttrpc: Branch, follows: boolean): Entry[] {
  const own = pick(ttrpc, ['address', 'uid', 'gid'])
  const address = grpc.leaf('address')
  if (!follows || !address || !says(address) || says(ttrpc.leaf('address'))) return own
  const inherited: Entry[] = pick(grpc, ['uid', 'gid'])
    .filter(([key]) => !says(ttrpc.leaf(key)))
    .map(([key, leaf]) => [key, derived(leaf, leaf.value)])
  return [['address', derived(address, `${String(address.value)}.ttrpc`)], ...inherited, ...own]
}

const derived = ({ origin }: Leaf, value: unknown): Leaf => ({
  value,
  origin: { ...origin, derived: true },
})

/** The values of `table` among `keys` that say something. */
const pick = (table: Branch, keys: readonly string[]): Entry[] =>
  keys.flatMap((key) => {
    const leaf = table.leaf(key)
    return leaf && says(leaf) ? [named(key, leaf)] : []
  })

const named = (key: string, leaf: Leaf): Entry => [key, leaf]

const says = (leaf: Leaf | undefined): boolean =>
  leaf !== undefined && leaf.value !== '' && leaf.value !== 0 && leaf.value !== false

function place(plugins: Branch, uri: string, entries: readonly Entry[]): void {
  if (entries.length === 0 || plugins.get(uri)) return
  const section = plugins.ensure(uri)
  for (const [key, leaf] of entries) section.set(key, leaf)
}

/** Keys of the tables that version 4 does not have, or has emptied. */
export const legacyKeys: Readonly<Record<string, readonly string[]>> = {
  grpc: ['address', 'uid', 'gid', ...sizes, ...Object.keys(tcpKeys)],
  ttrpc: ['address', 'uid', 'gid'],
  debug: ['address', 'uid', 'gid'],
  metrics: ['address', 'grpc_histogram'],
}

/** What has moved leaves the old tables; what is left there is unknown. */
function dropLegacy(tree: Branch): void {
  for (const [name, keys] of Object.entries(legacyKeys)) {
    const table = tree.branch(name)
    for (const key of keys) if (table?.leaf(key)) table.take(key)
    if (table?.entries.size === 0) tree.take(name)
  }
}
