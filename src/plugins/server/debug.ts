import type { ListenOptions } from 'node:net'

import { invalidArgument } from '#lib/errors/errors.ts'
import { claimSocket, ownSocket } from '#lib/grpc/unix.ts'
import { SkipPlugin, definePlugin } from '#plugin/plugin.ts'
import { ServerPlugin } from '#plugins/types.ts'

import { isLoopback, isPath, tcpAddress, unixPath } from './address.ts'
import { openDebugHandler } from './debug/pprof.ts'
import { listenHttp } from './http.ts'

/** `[plugins."io.containerd.server.v1.debug"]`, before version 4 of the configuration `[debug]`. */
export interface DebugConfig {
  /** Path of a unix socket, or `host:port` with a loopback host; empty for none. */
  readonly address: string
  /** Owner of the unix socket. */
  readonly uid: number
  readonly gid: number
}

const defaults: DebugConfig = { address: '', uid: 0, gid: 0 }

/** `io.containerd.server.v1.debug`: profiles and variables of the daemon, for `ctr pprof`. */
export const debugServerPlugin = definePlugin({
  type: ServerPlugin,
  id: 'debug',
  config: defaults,
  describe: {
    address: 'path of a unix socket, or host:port of a loopback address; empty for none',
    uid: 'owner of the unix socket',
    gid: 'group of the unix socket',
  },

  init({ ctx: { log }, config, meta }) {
    const { address } = config
    if (address === '') throw new SkipPlugin('no address for debugging is configured')
    const where = listenAt(address)
    const scope = new AsyncDisposableStack()
    return {
      async listen({ signal }) {
        if (where.path) await claimSocket(where.path, signal)
        const { handle } = scope.use(await openDebugHandler())
        const server = scope.use(await listenHttp(where, handle, log))
        if (where.path) ownSocket(where.path, config)
        const at = where.path ?? `${where.host}:${server.port}`
        meta.exports['address'] = at
        log.info('serving...', { address: at })
      },
      [Symbol.asyncDispose]: async () => await scope.disposeAsync(),
    }
  },
})

function listenAt(address: string): ListenOptions {
  if (isPath(address)) return { path: unixPath(address) }
  const { host, port } = tcpAddress(address)
  if (!isLoopback({ host, port })) {
    throw invalidArgument(
      `debugging on "${address}" would be open to the network, and has no access control; use a unix socket or a loopback address`,
    )
  }
  return { host, port }
}
