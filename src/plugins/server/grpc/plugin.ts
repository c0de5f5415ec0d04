import { peerCredentials, socketFd } from '#sys/peer.ts'
import { type GrpcServer, listenGrpc } from '#lib/grpc/server.ts'
import { claimSocket, ownSocket } from '#lib/grpc/unix.ts'
import { definePlugin, each } from '#plugin/plugin.ts'
import { ApiPlugin, type RpcContext, ServerPlugin } from '#plugins/types.ts'
import { contextOf } from '#proxy/headers.ts'

/** `[grpc]` in config.toml. */
export interface GrpcConfig {
  readonly address: string
  /** Owner of the socket. */
  readonly uid: number
  readonly gid: number
  /** In bytes; 0 for 16 MiB. */
  readonly maxRecvMessageSize: number
  readonly maxSendMessageSize: number
}

const defaults: GrpcConfig = {
  address: '/run/containerd/containerd.sock',
  uid: 0,
  gid: 0,
  maxRecvMessageSize: 0,
  maxSendMessageSize: 0,
}

export const grpcServerPlugin = definePlugin({
  type: ServerPlugin,
  id: 'grpc',
  requires: { apis: each(ApiPlugin) },
  config: defaults,

  init({ ctx: { log }, config, deps, meta }) {
    const { address, maxRecvMessageSize, maxSendMessageSize } = config
    let server: GrpcServer | undefined
    meta.exports['address'] = address
    return {
      async listen({ signal }) {
        await claimSocket(address, signal)
        server = await listenGrpc<RpcContext>(
          { path: address },
          {
            services: [...deps.apis.values()].flatMap((api) => api.grpc ?? []),
            context: (call) => contextOf(call, log),
            peerOf: (socket) => peerCredentials(socketFd(socket)),
            onUnknownError: (err, call) => {
              log.debug('call failed', { method: call.method.name, error: err })
            },
            ...(maxRecvMessageSize > 0 ? { maxReceiveBytes: maxRecvMessageSize } : {}),
            ...(maxSendMessageSize > 0 ? { maxSendBytes: maxSendMessageSize } : {}),
          },
        )
        await ownSocket(address, config)
        log.info('serving...', { address })
      },
      async [Symbol.asyncDispose]() {
        await server?.[Symbol.asyncDispose]()
      },
    }
  },
})
