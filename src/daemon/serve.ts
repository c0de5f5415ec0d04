import type { Context } from '#core/context.ts'
import { untilAborted } from '#lib/async/until-aborted.ts'
import { start } from '#plugin/graph.ts'
import type { Plugin } from '#plugin/plugin.ts'
import { defaultSettings } from '#plugin/settings.ts'
import { ServerPlugin } from '#plugins/types.ts'

import type { Config } from './config.ts'
import { makeDirectories } from './directories.ts'
import { version } from './version.ts'

/** Without these there is nothing to serve, or nobody to serve it: their failure is the daemon's. */
const essential = ['io.containerd.metadata.v1.bolt', 'io.containerd.server.v1.grpc']

/** Runs the plugins until `ctx` is cancelled. Leaving the function closes them, newest first. */
export async function serve(
  ctx: Context,
  config: Config,
  plugins: readonly Plugin[],
  onServing: () => void = () => {},
): Promise<void> {
  const began = performance.now()
  const { root, state, disabledPlugins, requiredPlugins } = config
  const enabled = plugins.filter((plugin) => !disabledPlugins.includes(plugin.uri))
  ctx.log.info('starting wharfd', { version, root, state })
  for (const { key, nearest } of config.unknownKeys) {
    ctx.log.warn('ignoring unknown key in the configuration', {
      key,
      ...(nearest ? { nearest } : {}),
    })
  }
  await makeDirectories(config)
  const daemon = {
    root,
    state,
    address: config.grpc.address,
    ttrpcAddress: config.ttrpc.address,
    settings: defaultSettings,
  }
  const required = [
    ...requiredPlugins,
    ...essential.filter((uri) => !disabledPlugins.includes(uri)),
  ]
  await using set = await start(ctx, enabled, { configs: config.plugins, daemon, required })

  for (const server of set.all(ServerPlugin).values()) await server.listen(ctx)
  const seconds = (performance.now() - began) / 1000
  ctx.log.info(`containerd successfully booted in ${seconds.toFixed(6)}s`)
  onServing()

  await untilAborted(ctx.signal)
  ctx.log.info('stopping', { reason: String(ctx.signal.reason) })
}
