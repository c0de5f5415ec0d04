import { insideCall } from '#core/trace.ts'
import { permissionDenied } from '#lib/errors/errors.ts'
import { claimSocket, ownSocket } from '#lib/grpc/unix.ts'
import type { Peer } from '#lib/rpc/rpc.ts'
import { traced } from '#lib/rpc/traced.ts'
import { listenTtrpc } from '#lib/ttrpc/server.ts'
import { SkipPlugin, definePlugin, each } from '#plugin/plugin.ts'
import { ApiPlugin, type RpcContext, ServerPlugin } from '#plugins/types.ts'
import { contextOf } from '#proxy/headers.ts'
import { peerCredentials, socketFd } from '#sys/peer.ts'

import { unixPath } from './address.ts'

/** `[plugins."io.containerd.server.v1.ttrpc"]`, before version 4 of the configuration `[ttrpc]`. */
export interface TtrpcConfig {
  /** Empty for none. */
  readonly address: string
  /** Owner of the socket. */
  readonly uid: number
  readonly gid: number
}

const defaults: TtrpcConfig = {
  address: '/run/containerd/containerd.sock.ttrpc',
  uid: process.geteuid?.() ?? 0,
  gid: process.getegid?.() ?? 0,
}

/** How long a stop waits for the calls in flight before it aborts them, in ms. */
const stopMs = 5000

/**
 * `io.containerd.server.v1.ttrpc`: what shims report to. Only processes of the daemon's own user and
 * group may, whatever the owner of the socket.
 */
export const ttrpcServerPlugin = definePlugin({
  type: ServerPlugin,
  id: 'ttrpc',
  requires: { apis: each(ApiPlugin) },
  config: defaults,
  describe: {
    address: 'path of the unix socket that shims report to; empty for none',
    uid: 'owner of the socket',
    gid: 'group of the socket',
  },

  init({ ctx: { log, trace }, config, deps, meta }) {
    if (config.address === '') throw new SkipPlugin('no ttrpc address is configured')
    const path = unixPath(config.address)
    const scope = new AsyncDisposableStack()
    meta.exports['address'] = path
    return {
      async listen({ signal }) {
        await claimSocket(path, signal)
        scope.use(
          await listenTtrpc<RpcContext>(
            { path },
            {
              services: [...deps.apis.values()].flatMap((api) => api.ttrpc ?? []),
              context: (call) => contextOf(call, log),
              interceptors: trace ? [traced<RpcContext>(trace, insideCall)] : [],
              peerOf: (socket) => peerCredentials(socketFd(socket)),
              authorize: requireSameUser,
              onConnectionError: (err) => log.warn('ttrpc connection ended', { error: err }),
              stopMs,
            },
          ),
        )
        ownSocket(path, config)
        log.info('serving...', { address: path })
      },
      [Symbol.asyncDispose]: async () => await scope.disposeAsync(),
    }
  },
})

/** As `ttrpc.UnixSocketRequireSameUser` does upstream. @throws `permission_denied` */
function requireSameUser(peer: Peer | undefined): void {
  if (peer?.uid === process.geteuid?.() && peer?.gid === process.getegid?.()) return
  throw permissionDenied(`uid ${peer?.uid} and gid ${peer?.gid} may not report events`)
}
