import { invalidArgument } from '#lib/errors/errors.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { ServerPlugin } from '#plugins/types.ts'

import { unixPath } from './address.ts'
import { grpcRequires, type Listen, requireAudit, serveGrpc } from './grpc-server.ts'
import { listenUnixGrpc } from './unix-grpc.ts'

/** `[plugins."io.containerd.server.v1.grpc"]`, before version 4 of the configuration `[grpc]`. */
export interface GrpcConfig {
  readonly address: string
  /** Owner of the socket; its mode is 0660. */
  readonly uid: number
  readonly gid: number
  /** In bytes; 0 for 16 MiB. */
  readonly maxRecvMessageSize: number
  readonly maxSendMessageSize: number
}

const defaults: GrpcConfig = {
  address: '/run/containerd/containerd.sock',
  uid: process.geteuid?.() ?? 0,
  gid: process.getegid?.() ?? 0,
  maxRecvMessageSize: 16 * 1024 * 1024,
  maxSendMessageSize: 16 * 1024 * 1024,
}

/** `io.containerd.server.v1.grpc`: the socket that clients talk to. */
export const grpcServerPlugin = definePlugin({
  type: ServerPlugin,
  id: 'grpc',
  requires: grpcRequires,
  config: defaults,
  describe: {
    address: 'path of the unix socket',
    uid: 'owner of the socket',
    gid: 'group of the socket, which may use it',
    maxRecvMessageSize: 'largest message that is taken, in bytes; 0 for 16 MiB',
    maxSendMessageSize: 'largest message that is sent, in bytes; 0 for 16 MiB',
  },

  init({ ctx: { log, trace }, config, daemon, deps, meta }) {
    requireAudit(daemon)
    if (config.address === '') throw invalidArgument('grpc address cannot be empty')
    const path = unixPath(config.address)
    const scope = new AsyncDisposableStack()
    meta.exports['address'] = path
    return {
      async listen({ signal }) {
        const listen: Listen = async (options) =>
          await listenUnixGrpc(path, config, options, signal)
        scope.use(await serveGrpc(deps, { ...config, log, trace }, listen))
        log.info('serving...', { address: path })
      },
      [Symbol.asyncDispose]: async () => await scope.disposeAsync(),
    }
  },
})
