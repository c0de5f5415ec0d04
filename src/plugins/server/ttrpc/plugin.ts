import { permissionDenied } from '#lib/errors/errors.ts'
import { claimSocket, ownSocket } from '#lib/grpc/unix.ts'
import { listenTtrpc, type TtrpcServer } from '#lib/ttrpc/server.ts'
import { definePlugin, each } from '#plugin/plugin.ts'
import { ApiPlugin, type RpcContext, ServerPlugin } from '#plugins/types.ts'
import { contextOf } from '#proxy/headers.ts'
import { peerCredentials, socketFd } from '#sys/peer.ts'

/** `[ttrpc]` in config.toml. */
export interface TtrpcConfig {
  /** Empty for none. */
  readonly address: string
  /** Owner of the socket. */
  readonly uid: number
  readonly gid: number
}

const defaults: TtrpcConfig = {
  address: '/run/containerd/containerd.sock.ttrpc',
  uid: 0,
  gid: 0,
}

/** What shims report to: only processes of the daemon's own user and group may. */
export const ttrpcServerPlugin = definePlugin({
  type: ServerPlugin,
  id: 'ttrpc',
  requires: { apis: each(ApiPlugin) },
  config: defaults,

  init({ ctx: { log }, config, deps, meta }) {
    let server: TtrpcServer | undefined
    meta.exports['address'] = config.address
    return {
      async listen({ signal }) {
        if (config.address === '') return
        await claimSocket(config.address, signal)
        server = await listenTtrpc<RpcContext>(
          { path: config.address },
          {
            services: [...deps.apis.values()].flatMap((api) => api.ttrpc ?? []),
            context: (call) => contextOf(call, log),
            peerOf: (socket) => peerCredentials(socketFd(socket)),
            authorize(peer) {
              if (peer?.uid === process.geteuid?.() && peer?.gid === process.getegid?.()) return
              throw permissionDenied(`uid ${peer?.uid} and gid ${peer?.gid} may not report events`)
            },
          },
        )
        await ownSocket(config.address, config)
        log.info('serving...', { address: config.address })
      },
      async [Symbol.asyncDispose]() {
        await server?.[Symbol.asyncDispose]()
      },
    }
  },
})
