import type { StreamManager } from '#core/streaming/streaming.ts'
import type { Transferrer } from '#core/transfer/transfer.ts'
import { Transfer } from '#gen/services/transfer_pb.ts'
import { type RegisteredService, implement } from '#lib/rpc/rpc.ts'
import { SkipPlugin, definePlugin, each } from '#plugin/plugin.ts'
import { ApiPlugin, type RpcContext, StreamingPlugin, TransferPlugin } from '#plugins/types.ts'

import { TransferService } from './service.ts'

/** The service `containerd.services.transfer.v1.Transfer`. */
export function transferApi(
  transfers: Transferrer,
  streams: StreamManager,
): RegisteredService<RpcContext> {
  const service = new TransferService(transfers, streams)
  return implement(Transfer, {
    async transfer({ source, destination, options }, ctx) {
      const progressStream = options?.progressStream ?? ''
      await service.transfer(ctx, { source, destination, progressStream })
      return {}
    },
  })
}

/** `io.containerd.grpc.v1.transfer`. Like upstream's it is not served over ttrpc. */
export const transferApiPlugin = definePlugin({
  type: ApiPlugin,
  id: 'transfer',
  requires: { transfers: each(TransferPlugin), streams: StreamingPlugin },
  init({ deps: { transfers, streams } }) {
    const [transferrer] = transfers.values()
    if (!transferrer) throw new SkipPlugin('no plugin that moves images is running')
    return { grpc: [transferApi(transferrer, streams)] }
  },
})
