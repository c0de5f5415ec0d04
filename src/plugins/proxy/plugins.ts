import type { Logger } from '#core/context.ts'
import { formatPlatform, hostPlatformName, parsePlatform } from '#core/platforms/platforms.ts'
import { hasCode, invalidArgument } from '#lib/errors/errors.ts'
import type { Connection } from '#lib/rpc/rpc.ts'
import { definePlugin, type Meta, type Plugin, type PluginType } from '#plugin/plugin.ts'
import type { Settings } from '#plugin/settings.ts'
import {
  ContentPlugin,
  DiffPlugin,
  SandboxControllerPlugin,
  SnapshotPlugin,
} from '#plugins/types.ts'
import { RemoteContentStore } from '#proxy/content.ts'
import { RemoteDiffer } from '#proxy/diff.ts'
import { RemoteSandboxController, awayTimeout } from '#proxy/sandbox.ts'
import { RemoteSnapshotter } from '#proxy/snapshots.ts'

import { Connections } from './connections.ts'

/** `[proxy_plugins.<name>]` in config.toml: a plugin that another process serves. */
export interface ProxyConfig {
  readonly name: string
  /** `snapshot`, `content`, `diff` or `sandbox`, or the full type: `io.containerd.snapshotter.v1`. */
  readonly type: string
  /** Its gRPC socket: a path, `unix:///path`, or `host:port`. */
  readonly address: string
  /** What it works for, as `os/arch`; empty for this machine's. */
  readonly platform: string
  /** More of what introspection tells; `address` is always there. */
  readonly exports: Readonly<Record<string, string>>
  readonly capabilities: readonly string[]
}

/** How to make a plugin of one type that speaks over a connection. */
type Make = (proxy: ProxyConfig, connections: Connections) => Plugin

const kinds: Readonly<Record<string, Make>> = {
  snapshot: over(SnapshotPlugin, (connection, name) => new RemoteSnapshotter(connection, name)),
  content: over(ContentPlugin, (connection) => new RemoteContentStore(connection)),
  diff: over(DiffPlugin, (connection) => new RemoteDiffer(connection)),
  sandbox: over(
    SandboxControllerPlugin,
    (connection, name, settings) =>
      new RemoteSandboxController(connection, name, {
        awayMs: () => settings.timeout(awayTimeout),
      }),
  ),
}

const shortNames: Readonly<Record<string, string>> = {
  [SnapshotPlugin.name]: 'snapshot',
  [ContentPlugin.name]: 'content',
  [DiffPlugin.name]: 'diff',
  [SandboxControllerPlugin.name]: 'sandbox',
}

/**
 * `plugins` and those that `[proxy_plugins]` describes. Those at one address share a connection, which
 * is made when it is needed, and again when it was lost.
 *
 * A proxy takes the place of a plugin of its type and name, where upstream refuses to start; a proxy of
 * an unknown type is left out. Both are said in the log. Source: upstream `LoadPlugins`.
 */
export function withProxies(
  plugins: readonly Plugin[],
  proxies: readonly ProxyConfig[],
  log: Logger,
): Plugin[] {
  const remote = proxyPlugins(proxies, log)
  const local = plugins.filter(({ uri }) => !remote.some((proxy) => proxy.uri === uri))
  for (const { uri } of plugins.filter((plugin) => !local.includes(plugin))) {
    log.info('a proxy plugin takes the place of the built-in one', { plugin: uri })
  }
  return [...local, ...remote]
}

function proxyPlugins(proxies: readonly ProxyConfig[], log: Logger): Plugin[] {
  const connections = new Connections()
  const plugins: Plugin[] = []
  for (const proxy of proxies) {
    const make = kinds[shortNames[proxy.type] ?? proxy.type]
    if (make) plugins.push(make(proxy, connections))
    else log.warn('unknown proxy plugin type', { plugin: proxy.name, type: proxy.type })
  }
  return plugins
}

function over<T extends object>(
  type: PluginType<T>,
  open: (connection: Connection, name: string, settings: Settings) => T,
): Make {
  return (proxy, connections) =>
    definePlugin({
      type,
      id: proxy.name,
      init({ ctx, meta, daemon }) {
        if (proxy.address === '')
          throw invalidArgument(`proxy plugin "${proxy.name}" has no address`)
        tell(meta, proxy, ctx.log)
        const lent = connections.use(proxy.address)
        // What is remote holds nothing; the connection is what ends with the plugin.
        return Object.assign(open(lent.connection, proxy.name, daemon.settings), {
          [Symbol.asyncDispose]: async () => await lent[Symbol.asyncDispose](),
        })
      },
    })
}

function tell(meta: Meta, proxy: ProxyConfig, log: Logger): void {
  Object.assign(meta.exports, proxy.exports, { address: proxy.address })
  meta.capabilities.push(...proxy.capabilities)
  try {
    const { platform } = proxy
    meta.platforms.push(
      platform === '' ? hostPlatformName : formatPlatform(parsePlatform(platform)),
    )
  } catch (err) {
    if (!hasCode(err, 'invalid_argument')) throw err
    log.warn('skipping proxy platform with bad platform', { platform: proxy.platform })
  }
}
